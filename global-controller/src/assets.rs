//! The meeting page and its parts, embedded in the binary; each with the validator that lets a browser keep it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Path within `web/dist`, and contents.
static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// An embedded file.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// Its contents.
    pub bytes: &'static [u8],
    /// By its name's extension.
    pub content_type: &'static str,
}

/// An asset with its entity tag (RFC 9110 section 8.8.3).
#[derive(Clone, Debug)]
pub struct TaggedAsset {
    /// The file.
    pub asset: Asset,
    /// Strong: the hash of the contents, in quotes.
    pub entity_tag: String,
}

/// All embedded files by their path, such as `app.js`.
pub fn assets() -> &'static BTreeMap<&'static str, TaggedAsset> {
    static ASSETS: LazyLock<BTreeMap<&'static str, TaggedAsset>> = LazyLock::new(|| {
        let tagged = |(path, bytes): &(&'static str, &'static [u8])| {
            let asset = Asset { bytes, content_type: content_type(path) };
            (*path, TaggedAsset { asset, entity_tag: entity_tag(bytes) })
        };
        FILES.iter().map(tagged).collect()
    });
    &ASSETS
}

/// The page itself.
pub fn index() -> &'static TaggedAsset {
    assets().get("index.html").expect("build.rs embeds nothing without it")
}

/// Strong: the hash of `bytes`, in quotes.
pub fn entity_tag(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let mut text = URL_SAFE_NO_PAD.encode(digest.as_ref());
    text.truncate(16);
    format!("\"{text}\"")
}

/// Whether a request says that it has what goes by `entity_tag` (RFC 9110 section 13.1.2).
pub fn is_known(entity_tag: &str, headers: &HeaderMap) -> bool {
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    known.flat_map(|value| value.split(',')).map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == entity_tag)
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("txt") => "text/plain; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("wasm") => "application/wasm",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_in_the_binary() {
        assert!(index().asset.bytes.starts_with(b"<!"));
        assert_eq!(index().asset.content_type, "text/html; charset=utf-8");
        assert_eq!(entity_tag(b"a").len(), 18);
    }
}

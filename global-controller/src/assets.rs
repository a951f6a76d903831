//! The meeting page and its parts, embedded in the binary; each with the validator that lets a browser keep it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Path within `web/dist`, and contents. What is worth it has its compressed twin beside it, `app.js.gz` by `app.js`.
static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// Behind the name of a compressed twin.
const GZIP: &str = ".gz";

/// An embedded file.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// Its contents.
    pub bytes: &'static [u8],
    /// The same by gzip, where that is shorter by far.
    pub gzip: Option<&'static [u8]>,
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
        let by_path: BTreeMap<&str, &'static [u8]> = FILES.iter().copied().collect();
        let tagged = |(path, bytes): &(&'static str, &'static [u8])| {
            let gzip = by_path.get(format!("{path}{GZIP}").as_str()).copied();
            let asset = Asset { bytes, gzip, content_type: content_type(path) };
            (*path, TaggedAsset { asset, entity_tag: entity_tag(bytes) })
        };
        FILES.iter().filter(|(path, _)| !path.ends_with(GZIP)).map(tagged).collect()
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

/// Whether a request takes answers by gzip (RFC 9110 section 12.5.3).
pub fn takes_gzip(headers: &HeaderMap) -> bool {
    let listed = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    listed.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
        // A weight of nothing is a refusal; any other is as good as the next.
        let refused = weight.trim().strip_prefix("q=").is_some_and(|weight| weight.trim().parse::<f32>().is_ok_and(|weight| weight == 0.0));
        name.trim().eq_ignore_ascii_case("gzip") && !refused
    })
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

    #[test]
    fn scripts_have_a_shorter_twin_which_is_no_file_of_its_own() {
        let script = assets().get("app.js").expect("the page has a script").asset;
        let gzip = script.gzip.expect("scripts are worth it");
        assert!(gzip.starts_with(&[0x1f, 0x8b]) && gzip.len() < script.bytes.len() / 2);
        assert!(assets().keys().all(|path| !path.ends_with(GZIP)));
    }

    #[test]
    fn gzip_is_for_who_takes_it() {
        fn check(accepts: &str, expected: bool) {
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, accepts.parse().expect("a header"))]);
            assert_eq!(takes_gzip(&headers), expected, "{accepts}");
        }
        check("gzip, deflate, br, zstd", true);
        check("br;q=1, GZIP;q=0.5", true);
        check("br, gzip;q=0", false);
        check("identity", false);
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}

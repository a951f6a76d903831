//! Which URLs a webhook may have. In: text of an application. Out: the URL as it is called, or why not.
//!
//! What a name leads to is looked at when it is called: see `resolve`.

use global_controller_core::address::is_public;
use std::net::IpAddr;
use url::{Host, Url};

/// Longest URL, bytes.
const URL_BYTES_MAX: usize = 2048;
/// Names, and what is below them, that lead inside by their definition (RFC 6761, RFC 6762, RFC 8375, and `.internal` of ICANN).
const INSIDE: [&str; 4] = ["localhost", "local", "home.arpa", "internal"];

/// The URL that is to be called; the error reads on after the field's name. `allow_private`: also `http`, and targets inside.
pub fn parse_target(text: &str, allow_private: bool) -> Result<Url, &'static str> {
    if text.len() > URL_BYTES_MAX {
        return Err("must be at most 2048 bytes long");
    }
    let url = Url::parse(text).map_err(|_| "must be a URL such as https://example.com/hooks")?;
    match url.scheme() {
        "https" => {}
        "http" if allow_private => {}
        _ if allow_private => return Err("must be an https or http URL"),
        _ => return Err("must be an https URL"),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user name or password");
    }
    if url.fragment().is_some() {
        return Err("must not have a fragment");
    }
    if url.port() == Some(0) {
        return Err("must not have port 0");
    }
    if !allow_private && !leads_outside(&url) {
        return Err("must lead to a host on the public internet");
    }
    // Percent-encoding may have made it longer.
    if url.as_str().len() > URL_BYTES_MAX {
        return Err("must be at most 2048 bytes long");
    }
    Ok(url)
}

/// The host of a URL, to tell targets apart by.
pub fn host_of(url: &str) -> String {
    Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
}

/// Whether a URL's host, as far as it can be told without a look-up, is on the public internet. The parser has made one spelling of each
/// address: `0x7f.1` and `2130706433` are 127.0.0.1 here.
pub fn leads_outside(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => is_public(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => is_public(IpAddr::V6(address)),
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            // A name without a dot is somebody's machine or nobody's.
            name.contains('.')
                && !INSIDE.iter().any(|inside| name.strip_suffix(inside).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lead_outside_or_are_refused() {
        let good = |text: &str, expected: &str| assert_eq!(parse_target(text, false).map(String::from).as_deref(), Ok(expected), "{text}");
        good("https://example.com/hooks?tenant=1", "https://example.com/hooks?tenant=1");
        good("https://EXAMPLE.com:8443", "https://example.com:8443/");
        good("https://8.8.8.8/", "https://8.8.8.8/");
        good("https://[2606:4700:4700::1111]/", "https://[2606:4700:4700::1111]/");
        good("https://localhost.example.com/", "https://localhost.example.com/");
        good("https://bücher.example/", "https://xn--bcher-kva.example/");

        let inside = "must lead to a host on the public internet";
        let bad = |text: &str, problem: &str| assert_eq!(parse_target(text, false), Err(problem), "{text}");
        for host in [
            "localhost",
            "LOCALHOST",
            "localhost.",
            "a.localhost",
            "printer.local",
            "db.internal",
            "nas.home.arpa",
            "intranet",
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "017700000001",
            "0",
            "10.0.0.1",
            "192.168.1.1",
            "172.16.0.1",
            "169.254.169.254",
            "100.100.100.200",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[fd00:ec2::254]",
            "[fe80::1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "127.0.0.1.",
            "%31%32%37.0.0.1",
            "１２７.0.0.1",
        ] {
            bad(&format!("https://{host}/"), inside);
        }
        bad("http://example.com/", "must be an https URL");
        bad("ftp://example.com/", "must be an https URL");
        bad("javascript:alert(1)", "must be an https URL");
        bad("https://ana:secret@example.com/", "must not hold a user name or password");
        bad("https://ana@example.com/", "must not hold a user name or password");
        bad("https://example.com/#here", "must not have a fragment");
        bad("https://example.com:0/", "must not have port 0");
        bad("example.com/hooks", "must be a URL such as https://example.com/hooks");
        bad("/hooks", "must be a URL such as https://example.com/hooks");
        bad("https://", "must be a URL such as https://example.com/hooks");
        bad("", "must be a URL such as https://example.com/hooks");
        bad(&format!("https://example.com/{}", "a".repeat(2048)), "must be at most 2048 bytes long");
        bad(&format!("https://example.com/{}", "ä".repeat(900)), "must be at most 2048 bytes long");
    }

    #[test]
    fn inside_is_allowed_where_the_operator_says_so() {
        for text in ["http://localhost:9000/", "https://127.0.0.1/", "http://[::1]:1/", "http://intranet/"] {
            assert!(parse_target(text, true).is_ok(), "{text}");
        }
        assert_eq!(parse_target("file:///etc/passwd", true), Err("must be an https or http URL"));
    }
}

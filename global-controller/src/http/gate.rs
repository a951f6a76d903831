//! What every request must be before anyone looks at what it asks for: small enough in its head, addressed to this server, free of what
//! its protocol forbids and the HTTP libraries let pass.
//!
//! In: a request's head. Out: the refusal, in words of HTTP. Never reads a body.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Uri, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use common::door::count_refusal;

use super::ApiError;
use crate::app::App;

/// Header fields of one request: browsers send about twenty.
pub const FIELDS_MAX: usize = 100;
/// What a field counts for besides its name and value (RFC 9113 section 6.5.2, RFC 9114 section 4.2.2).
const FIELD_OVERHEAD: usize = 32;
/// They are of a connection, which HTTP/2 and HTTP/3 manage by frames (RFC 9114 section 4.2).
const CONNECTION_FIELDS: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// The middleware.
pub async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let head = Head { method: request.method(), uri: request.uri(), version: request.version(), fields: request.headers() };
    match head.judge(&app.config.public.hosts, app.config.limits.head_bytes as usize) {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            count_refusal("http", reason(refusal.status()));
            refusal.into_response()
        }
    }
}

/// The label of a refusal.
fn reason(status: StatusCode) -> &'static str {
    match status {
        StatusCode::METHOD_NOT_ALLOWED => "method",
        StatusCode::EXPECTATION_FAILED => "expectation",
        StatusCode::MISDIRECTED_REQUEST => "host",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "head_too_large",
        _ => "malformed",
    }
}

struct Head<'a> {
    method: &'a Method,
    uri: &'a Uri,
    version: Version,
    fields: &'a HeaderMap,
}

impl Head<'_> {
    fn judge(&self, hosts: &[String], bytes_max: usize) -> Result<(), ApiError> {
        self.judge_size(bytes_max)?;
        if self.method == Method::CONNECT {
            return Err(ApiError::method_not_served("CONNECT: this server is no proxy"));
        }
        self.judge_fields()?;
        let host = self.host()?;
        if hosts.is_empty() {
            return Ok(());
        }
        let named = host.as_ref().map_or("", |authority| bare(authority.host()));
        if hosts.iter().any(|known| bare(known).eq_ignore_ascii_case(named)) {
            return Ok(());
        }
        Err(ApiError::misdirected(named))
    }

    fn judge_size(&self, bytes_max: usize) -> Result<(), ApiError> {
        let target = self.uri.path_and_query().map_or(0, |it| it.as_str().len()) + self.uri.authority().map_or(0, |it| it.as_str().len());
        let fields = self.fields.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_OVERHEAD);
        if self.method.as_str().len() + target + fields.sum::<usize>() > bytes_max {
            return Err(ApiError::head_too_large(format!("the request's head is over the limit of {bytes_max} bytes")));
        }
        if self.fields.len() > FIELDS_MAX {
            return Err(ApiError::head_too_large(format!("the request has more than {FIELDS_MAX} header fields")));
        }
        Ok(())
    }

    fn judge_fields(&self) -> Result<(), ApiError> {
        if self.version >= Version::HTTP_2 {
            if let Some(name) = CONNECTION_FIELDS.iter().find(|name| self.fields.contains_key(*name)) {
                return Err(ApiError::invalid_field(name.as_str(), "has no place in a request over HTTP/2 or HTTP/3"));
            }
        } else if self.fields.contains_key(header::TRANSFER_ENCODING) && self.fields.contains_key(header::CONTENT_LENGTH) {
            return Err(ApiError::invalid_field("transfer-encoding", "must not come with content-length: send one of the two"));
        }
        match self.fields.get(header::EXPECT) {
            Some(value) if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") => Err(ApiError::expectation_failed()),
            _ => Ok(()),
        }
    }

    /// Who the request is addressed to: the target's authority (RFC 9112 section 3.2.2), else the Host field.
    fn host(&self) -> Result<Option<Authority>, ApiError> {
        let mut stated = self.fields.get_all(header::HOST).iter();
        let field = stated.next();
        if stated.next().is_some() {
            return Err(ApiError::invalid_field("host", "there must be exactly one Host field"));
        }
        if field.is_none() && self.version == Version::HTTP_11 {
            return Err(ApiError::invalid_field("host", "a request over HTTP/1.1 must have a Host field, such as Host: example.com"));
        }
        let bad = || ApiError::invalid_field("host", "must be a name or an address, with :port if it is not the usual one");
        let field = field.map(|value| Authority::try_from(value.as_bytes()).map_err(|_| bad())).transpose()?;
        let authority = self.uri.authority().cloned();
        let together = [authority.as_ref(), field.as_ref()];
        if together.iter().flatten().any(|it| it.as_str().contains('@') || it.host().is_empty()) {
            return Err(bad());
        }
        if let (true, [Some(target), Some(field)]) = (self.version >= Version::HTTP_2, together)
            && !target.as_str().eq_ignore_ascii_case(field.as_str())
        {
            return Err(ApiError::invalid_field("host", "names another host than :authority; leave it out"));
        }
        Ok(authority.or(field))
    }
}

/// A host without the brackets of an IPv6 address and without the dot that ends a full name.
fn bare(host: &str) -> &str {
    let host = host.strip_suffix('.').unwrap_or(host);
    host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `lines`: method, target and version, then fields. What is said of it: `None` if it passes.
    fn said(lines: &str, hosts: &[&str]) -> Option<String> {
        let mut lines = lines.split('\n');
        let start: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
        let mut fields = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").expect("a field");
            fields.append(HeaderName::from_bytes(name.as_bytes()).expect("a name"), value.parse().expect("a value"));
        }
        let version = match start[2] {
            "1.0" => Version::HTTP_10,
            "1.1" => Version::HTTP_11,
            "2" => Version::HTTP_2,
            _ => Version::HTTP_3,
        };
        let (method, uri) = (start[0].parse().expect("a method"), start[1].parse().expect("a target"));
        let head = Head { method: &method, uri: &uri, version, fields: &fields };
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        head.judge(&hosts, 1000).err().map(|error| format!("{} {}", error.status().as_u16(), error.message()))
    }

    #[test]
    fn requests_are_for_the_hosts_that_are_known() {
        const KNOWN: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
        for passes in [
            "GET / 1.1\nhost: localhost",
            "GET / 1.1\nhost: LOCALHOST.:8443",
            "GET / 1.1\nhost: [::1]:80",
            "GET http://127.0.0.1:1/ 1.1\nhost: evil.example.com",
            "GET https://localhost/ 2",
            "GET https://localhost:1/ 3\nhost: localhost:1",
        ] {
            assert_eq!(said(passes, &KNOWN), None, "{passes}");
        }
        for stranger in
            ["GET / 1.1\nhost: evil.example.com", "GET https://evil.example.com/ 3", "GET http://evil.example.com/ 1.1\nhost: localhost"]
        {
            assert_eq!(said(stranger, &KNOWN).as_deref(), Some("421 host: this server does not answer for evil.example.com"), "{stranger}");
            assert_eq!(said(stranger, &[]), None, "{stranger}");
        }
        assert_eq!(said("GET / 1.0", &KNOWN).as_deref(), Some("421 host: this server answers for hosts that the request must name"));
        assert_eq!(said("GET / 1.0", &[]), None);
    }

    #[test]
    fn heads_that_the_libraries_let_pass_are_refused_in_words() {
        let check = |lines: &str, expected: &str| assert_eq!(said(lines, &[]).as_deref(), Some(expected), "{lines}");
        check("GET / 1.1", "400 host: a request over HTTP/1.1 must have a Host field, such as Host: example.com");
        check("GET / 1.1\nhost: a\nhost: a", "400 host: there must be exactly one Host field");
        let bad = "400 host: must be a name or an address, with :port if it is not the usual one";
        check("GET / 1.1\nhost: a b", bad);
        check("GET / 1.1\nhost: user@a", bad);
        check("GET https://user@a/ 2", bad);
        check("GET https://a/ 2\nhost: b", "400 host: names another host than :authority; leave it out");
        check("GET https://a/ 3\nconnection: close", "400 connection: has no place in a request over HTTP/2 or HTTP/3");
        check("CONNECT a:1 1.1\nhost: a:1", "405 this server does not take CONNECT: this server is no proxy");
        let both = "400 transfer-encoding: must not come with content-length: send one of the two";
        check("POST / 1.1\nhost: a\ncontent-length: 1\ntransfer-encoding: chunked", both);
        check("POST / 1.1\nhost: a\nexpect: miracles", "417 the only expectation that is met is 100-continue");
        assert_eq!(said("POST / 1.1\nhost: a\nexpect: 100-Continue", &[]), None);
        let long = format!("GET / 1.1\nhost: a\nx: {}", "x".repeat(940));
        check(&long, "431 the request's head is over the limit of 1000 bytes");
        assert_eq!(said(&format!("GET / 1.1\nhost: a\nx: {}", "x".repeat(900)), &[]), None);
    }
}

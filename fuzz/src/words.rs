//! Names of people, names in certificates, configuration.

use std::path::Path;

use common::config::{ENVIRONMENT_PREFIX, load, read_text};
use common::tls::Holder;
use common_core::name::{NAME_CHARS_MAX, escape, parse_name};
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A name that is taken has nothing in it that moves a terminal or a log, and is taken again as it is; what is escaped never has.
pub fn name(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(name) = parse_name(&text) {
        assert!((1..=NAME_CHARS_MAX).contains(&name.chars().count()) && name.trim() == name && !name.chars().any(char::is_control));
        assert_eq!(parse_name(name), Ok(name));
    }
    let escaped = escape(&text, NAME_CHARS_MAX);
    assert!(!escaped.chars().any(char::is_control), "{escaped:?}");
    // A character becomes ten at most: \u{10ffff}.
    assert!(escaped.chars().count() <= 10 * NAME_CHARS_MAX);
}

/// Whoever a certificate is taken to be for stands in it, by another parser's reading.
pub fn certificate(data: &[u8]) {
    let Ok(holder) = Holder::of(&CertificateDer::from_slice(data)) else { return };
    let Ok((_, certificate)) = X509Certificate::from_der(data) else { return };
    // The two differ in what they forgive; what is so broken that this one cannot read it, no authority has signed.
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return };
    let has = |wanted: &str| {
        names.value.general_names.iter().any(|name| matches!(name, GeneralName::DNSName(it) if it.eq_ignore_ascii_case(wanted)))
    };
    assert!(has(holder.id.as_str()) && has(holder.kind.certificate_name()), "{holder:?}");
}

/// Text that is no configuration of a service says where it is not, and variables of the environment are taken or refused: nothing else.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let path = Path::new("fuzz.toml");
    let problems = [
        read_text::<global_controller::Config>(path, text).map(drop),
        read_text::<meeting_controller::config::Config>(path, text).map(drop),
        read_text::<media_handler::config::Config>(path, text).map(drop),
    ];
    for problem in problems.into_iter().filter_map(Result::err) {
        assert!(problem.to_string().starts_with("fuzz.toml: "), "{problem}");
    }
    let pairs =
        text.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (format!("{ENVIRONMENT_PREFIX}{name}"), value.to_owned()));
    if let Err(problem) = load::<media_handler::config::Config>(None, pairs, []) {
        assert!(problem.to_string().contains(ENVIRONMENT_PREFIX), "{problem}");
    }
}

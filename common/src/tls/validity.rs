//! From when to when a certificate is good, and its number.

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::TlsError;

/// The dates of a certificate, and what to call it in a log. Seconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Good from then on.
    pub not_before: u64,
    /// Good until then.
    pub not_after: u64,
    /// The serial number, as hexadecimal bytes with colons between.
    pub serial: String,
    /// Whom it is for, as its distinguished name says.
    pub subject: String,
    /// Who has signed it, likewise.
    pub issuer: String,
}

impl Validity {
    /// Of `certificate`.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, TlsError> {
        let fail = |error: x509_parser::nom::Err<_>| {
            let error: x509_parser::nom::Err<x509_parser::error::X509Error> = error;
            TlsError::Material { what: "a certificate", reason: error.to_string() }
        };
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(fail)?;
        let seconds = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or_default();
        let validity = parsed.validity();
        Ok(Self {
            not_before: seconds(validity.not_before),
            not_after: seconds(validity.not_after),
            serial: parsed.raw_serial_as_string(),
            subject: parsed.subject().to_string(),
            issuer: parsed.issuer().to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Certificate;

    #[test]
    fn a_certificate_says_when_it_ends() {
        let certificate = Certificate::self_signed(&["localhost".into()]).expect("a certificate");
        let validity = Validity::of(&certificate.chain[0]).expect("it parses");
        let now = crate::clock::unix_seconds();
        let days = |seconds: u64| seconds / (24 * 3600);
        assert_eq!((validity.not_before < now, days(validity.not_after - now), validity.serial.is_empty()), (true, 12, false));
        assert!(Validity::of(&CertificateDer::from(vec![1, 2, 3])).is_err());
    }
}

//! The wall clock, as records and answers show it.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::store::UnixMillis;

/// Now.
pub fn now_millis() -> UnixMillis {
    i64::try_from(common::clock::unix_millis()).unwrap_or(i64::MAX)
}

/// RFC 3339 in UTC, whole seconds, as the seeds show times: `2025-01-16T12:00:00Z`.
pub fn rfc3339(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        // Beyond the year 9999: no clock that we stored was there.
        .unwrap_or_else(|| "9999-12-31T23:59:59Z".to_owned())
}

/// RFC 3339 in UTC with milliseconds: `2025-01-16T12:00:00.125Z`. What happens in a meeting is told this exactly.
pub fn rfc3339_millis(millis: UnixMillis) -> String {
    let whole = rfc3339(millis.div_euclid(1000));
    format!("{}.{:03}Z", whole.trim_end_matches('Z'), millis.rem_euclid(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_the_contract_shows_them() {
        assert_eq!(rfc3339(1_737_028_800), "2025-01-16T12:00:00Z");
        assert_eq!(rfc3339(i64::MAX), "9999-12-31T23:59:59Z");
        assert_eq!(rfc3339_millis(1_737_028_800_007), "2025-01-16T12:00:00.007Z");
        assert_eq!(rfc3339_millis(1_737_028_800_000), "2025-01-16T12:00:00.000Z");
        assert_eq!(rfc3339_millis(-1), "1969-12-31T23:59:59.999Z");
    }
}

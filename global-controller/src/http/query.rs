//! The parameters of a query: each at most once, none empty, none that the call does not know.

use axum::http::Uri;

use super::ApiError;

/// Longest name of an unknown parameter that is repeated in a refusal, characters.
const NAME_CHARS_MAX: usize = 64;

/// The values of the parameters called `names`, in that order. A name that is not among them is refused: whoever misspells a filter would take
/// what it gets for filtered.
pub fn parameters<const N: usize>(uri: &Uri, names: [&str; N]) -> Result<[Option<String>; N], ApiError> {
    let mut values = [const { None }; N];
    for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
        let Some(place) = names.iter().position(|known| *known == name) else {
            let known = if N == 0 { "it takes none".to_owned() } else { format!("it takes {}", names.join(", ")) };
            return Err(ApiError::invalid_field(
                &common_core::name::escape(&name, NAME_CHARS_MAX),
                format!("is no parameter of this call; {known}"),
            ));
        };
        if value.is_empty() {
            return Err(ApiError::invalid_field(names[place], "must not be empty; leave it out instead"));
        }
        // What is not UTF-8 was replaced by this character, which nobody means.
        if value.contains(char::REPLACEMENT_CHARACTER) {
            return Err(ApiError::invalid_field(names[place], "must be UTF-8 text, percent-encoded"));
        }
        if values[place].replace(value.into_owned()).is_some() {
            return Err(ApiError::invalid_field(names[place], "must be given once"));
        }
    }
    Ok(values)
}

/// A whole number between `least` and `most`.
pub fn whole_number(name: &str, text: &str, least: u64, most: u64) -> Result<u64, ApiError> {
    let number = if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None };
    match number {
        Some(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(ApiError::invalid_field(name, format!("must be a whole number between {least} and {most}"))),
    }
}

/// `true` or `false`.
pub fn flag(name: &str, text: &str) -> Result<bool, ApiError> {
    text.parse().map_err(|_| ApiError::invalid_field(name, "must be true or false"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_parameter_is_known_and_given_once() {
        let check = |query: &str, expected: Result<[Option<&str>; 2], &str>| {
            let uri: Uri = format!("/x{query}").parse().expect("a URI");
            let read = parameters(&uri, ["limit", "user_id"]);
            let read = read.as_ref().map(|values| [values[0].as_deref(), values[1].as_deref()]).map_err(ApiError::message);
            assert_eq!(read, expected, "{query}");
        };
        check("", Ok([None, None]));
        check("?", Ok([None, None]));
        check("?user_id=a+b%C3%A4", Ok([None, Some("a bä")]));
        check("?limit=1&user_id=x", Ok([Some("1"), Some("x")]));
        check("?limit=1&limit=1", Err("limit: must be given once"));
        check("?limit=", Err("limit: must not be empty; leave it out instead"));
        check("?limit", Err("limit: must not be empty; leave it out instead"));
        check("?limt=1", Err("limt: is no parameter of this call; it takes limit, user_id"));
        check("?user_id=%FF", Err("user_id: must be UTF-8 text, percent-encoded"));
    }

    #[test]
    fn numbers_are_whole_and_within_bounds() {
        let check = |text: &str, expected: Option<u64>| assert_eq!(whole_number("limit", text, 1, 200).ok(), expected, "{text}");
        check("1", Some(1));
        check("200", Some(200));
        for bad in ["0", "201", "-1", "+1", "1.0", "", "x", "99999999999999999999999"] {
            check(bad, None);
        }
    }
}

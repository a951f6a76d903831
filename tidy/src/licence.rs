//! Judges SPDX licence expressions (SPDX specification 2.3, annex D) against a list.
//!
//! In: an expression as crates write them, the old `/` for "or" included. Out: whether the list allows it.

/// What may be linked into a program under Apache-2.0 without further conditions than notices.
pub const ALLOWED: [&str; 14] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "NCSA",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Whether one way of reading `expression` needs allowed licences alone. What is not understood is not allowed.
pub fn is_allowed(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let allowed = any_of(&mut words);
    allowed == Some(true) && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(words: &mut Words<'_>) -> Option<bool> {
    let mut allowed = all_of(words)?;
    while words.next_if_eq(&"OR").is_some() {
        allowed |= all_of(words)?;
    }
    Some(allowed)
}

fn all_of(words: &mut Words<'_>) -> Option<bool> {
    let mut allowed = one(words)?;
    while words.next_if_eq(&"AND").is_some() {
        allowed &= one(words)?;
    }
    Some(allowed)
}

fn one(words: &mut Words<'_>) -> Option<bool> {
    match words.next()? {
        "(" => {
            let allowed = any_of(words)?;
            words.next_if_eq(&")").map(|_| allowed)
        }
        ")" | "AND" | "OR" | "WITH" => None,
        name => match words.next_if_eq(&"WITH") {
            Some(_) => {
                let exception = words.next()?;
                Some(ALLOWED.contains(&format!("{name} WITH {exception}").as_str()))
            }
            None => Some(ALLOWED.contains(&name)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_judged_as_written() {
        fn check(expression: &str, expected: bool) {
            assert_eq!(is_allowed(expression), expected, "{expression}");
        }
        check("MIT", true);
        check("MIT/Apache-2.0", true);
        check("GPL-3.0-only OR MIT", true);
        check("GPL-3.0-only AND MIT", false);
        check("ISC AND (Apache-2.0 OR ISC)", true);
        check("(MIT OR Apache-2.0) AND Unicode-3.0", true);
        check("Apache-2.0 WITH LLVM-exception", true);
        check("Apache-2.0 WITH Other-exception", false);
        check("AGPL-3.0-only", false);
        check("", false);
        check("(MIT", false);
        check("MIT)", false);
        check("MIT Apache-2.0", false);
    }
}

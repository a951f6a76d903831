//! `docs/configuration.md` is true: its blocks are understood, and say what is the default.

use std::fmt::Debug;

use serde::de::DeserializeOwned;

const DOCUMENT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md"));

/// The TOML block that begins with `# dark-tower SERVICE`.
fn block(service: &str) -> &'static str {
    let mark = format!("# dark-tower {service}\n");
    DOCUMENT
        .split("```toml\n")
        .filter_map(|rest| rest.split_once("```"))
        .map(|(block, _)| block)
        .find(|block| block.starts_with(&mark))
        .unwrap_or_else(|| panic!("docs/configuration.md has a block for {service}"))
}

/// The block gives the defaults; each line of it that is a comment is understood too when it is none.
fn check<C: DeserializeOwned + Default + Debug>(service: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("service.toml");
    let load = |text: &str| {
        std::fs::write(&file, text).expect("the file is written");
        common::config::load::<C>(Some(&file), [], []).unwrap_or_else(|error| panic!("docs/configuration.md, {service}: {error}"))
    };
    let told = format!("{:#?}", load(block(service)));
    assert_eq!(told, format!("{:#?}", C::default()), "docs/configuration.md, {service}: left is the document, right the default");

    let uncommented: String = block(service)
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|it| it.contains(" = ")).unwrap_or(line))
        .fold(String::new(), |text, line| text + line + "\n");
    load(&uncommented);
}

#[test]
fn the_document_has_the_defaults() {
    check::<global_controller::config::Config>("global-controller");
    check::<meeting_controller::config::Config>("meeting-controller");
    check::<media_handler::config::Config>("media-handler");
}

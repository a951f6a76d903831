//! Embeds what `make web` built, so that the binary is whole: each file of `web/dist` with its path and bytes.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../web/dist");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", root.display());
    if !root.join("index.html").is_file() {
        println!("cargo::error=web/dist/index.html is missing: run `make web` first");
        return Ok(());
    }
    let mut files = Vec::new();
    collect(&root.canonicalize()?, &mut files)?;
    files.sort();
    let mut code = String::from("&[\n");
    for file in files {
        let path = file.strip_prefix(root.canonicalize()?)?.to_str().ok_or("a file name that is not UTF-8")?.to_owned();
        writeln!(code, "    ({path:?}, include_bytes!({file:?}).as_slice()),")?;
    }
    code.push(']');
    std::fs::write(Path::new(&std::env::var("OUT_DIR")?).join("assets.rs"), code)?;
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

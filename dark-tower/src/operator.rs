//! What the operator's commands have in common: the store that they work on, and what they print.

use std::path::PathBuf;

use common::config::load_from_environment;
use global_controller::Config;
use global_controller::admin::{Admin, AdminError};
use serde::Serialize;

use crate::{dev, output};

/// Which store.
#[derive(clap::Args)]
pub struct StoreArgs {
    /// The configuration of a global controller: its [store] is worked on, whether or not one runs.
    #[arg(long, value_name = "FILE", conflicts_with = "data_dir")]
    config: Option<PathBuf>,
    /// The data folder of `dark-tower dev`, instead of a configuration.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Prints JSON, for programs.
    #[arg(long)]
    pub json: bool,
}

impl StoreArgs {
    /// Opens it.
    pub async fn open(&self) -> anyhow::Result<Admin> {
        let config: Config = match &self.data_dir {
            Some(folder) => dev::config(folder)?,
            None => load_from_environment(self.config.as_deref(), [])?,
        };
        Admin::open(&config).await.map_err(|error| match error {
            AdminError::NoDatabase(path) => anyhow::anyhow!(
                "there is no database at {}: name the configuration of a global controller that was started before (--config FILE), \
                 or the data folder of `dark-tower dev` (--data-dir DIR)",
                path.display()
            ),
            other => other.into(),
        })
    }

    /// Prints `value` as JSON if that was asked for, else the lines of `text`.
    pub fn print(&self, value: &impl Serialize, text: impl FnOnce() -> String) -> anyhow::Result<()> {
        let text = if self.json { serde_json::to_string_pretty(value)? + "\n" } else { text() };
        Ok(output::print(&text)?)
    }
}

/// Lines of aligned columns.
pub fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).chain([head[column].len()]).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |cells: [&str; N]| {
        let padded: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        padded.join("  ").trim_end().to_owned() + "\n"
    };
    let lines = rows.iter().map(|row| line(row.each_ref().map(String::as_str)));
    std::iter::once(line(head)).chain(lines).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other() {
        let rows = [["1".to_owned(), "Grüße".to_owned()], ["1000".to_owned(), "b".to_owned()]];
        assert_eq!(table(["ID", "NAME"], &rows), "ID    NAME\n1     Grüße\n1000  b\n");
        assert_eq!(table(["ID", "NAME"], &[]), "ID  NAME\n");
    }
}

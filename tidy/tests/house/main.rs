//! Holds the house to its word: each rule of CONTRIBUTING.md that a program can check, and how to mend what breaks it.

mod crates;
mod documents;
mod files;
mod sources;

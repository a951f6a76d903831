//! dark-tower-client

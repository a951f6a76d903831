//! dark-tower

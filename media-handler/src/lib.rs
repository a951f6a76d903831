//! media-handler

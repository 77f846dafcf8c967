//! The Cedar schema, generated from contracts and directory.

//! Comparing claimed values with a record.

//! What the engine says of policies that are not right.

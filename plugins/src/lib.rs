//! How a site narrows further what the policies permit.

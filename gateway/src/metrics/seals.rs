//! What became of changed lists of sealed persons. A site that seals nobody has no such metric.

use super::{Metrics, Reloads};

impl Metrics {
    /// `popgate_sealed_reloads_total{outcome}`; made once a node.
    #[expect(clippy::expect_used, reason = "the name is valid, and a node opens its list once")]
    pub fn seals(&self) -> Reloads {
        Reloads::new(&self.registry, "popgate_sealed_reloads_total", "Changed lists of sealed persons.")
            .expect("the name is valid and stands once")
    }
}

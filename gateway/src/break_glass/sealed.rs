//! An order in its envelope.

use super::Order;
use crate::signed::{Envelope, EnvelopeError, Kind, SigningKey};

/// An envelope and the order in it, which was read from the very bytes that are signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sealed {
    envelope: Envelope,
    order: Order,
}

impl Sealed {
    /// Reads a file or a request's body.
    ///
    /// # Errors
    /// [`EnvelopeError`].
    pub fn parse(text: &[u8]) -> Result<Self, EnvelopeError> {
        let envelope = Envelope::parse(&KIND, text)?;
        let order = Order::parse(envelope.payload()).map_err(|wrong| EnvelopeError::Payload(KIND.noun, wrong))?;
        Ok(Self { envelope, order })
    }

    /// An order that nobody has signed yet.
    pub fn unsigned(order: Order) -> Self {
        Self { envelope: Envelope::unsigned(&KIND, order.to_payload()), order }
    }

    /// What it says.
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// What it says it in.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// SHA-256 of the payload, in hex: two orders of one id are told apart by it.
    pub fn digest(&self) -> String {
        self.envelope.digest()
    }

    /// Adds a signature, in place of one by the same key.
    ///
    /// # Errors
    /// If there are too many.
    pub fn sign(&mut self, key: &SigningKey) -> Result<(), EnvelopeError> {
        self.envelope.sign(key)
    }

    /// The file's text.
    pub fn to_json(&self) -> String {
        self.envelope.to_json()
    }
}

pub(super) const KIND: Kind = Kind {
    payload_type: "application/vnd.popgate.break-glass+json",
    noun: "order",
    made_by: "popgate break-glass draft",
    most_bytes: 64 << 10,
};

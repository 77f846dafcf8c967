//! The vocabulary: identifiers, personal values, field sets and treatments.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// Declares a newtype over an interned string, so that two kinds of name cannot be swapped.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps a name that the bundle loader has already checked for form.
            pub fn new(name: &str) -> Self {
                Self(Arc::from(name))
            }

            /// The name as written in the bundle.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:?})", stringify!($name), &*self.0)
            }
        }
    };
}

name!(
    /// An enrolled organisation, such as `tax`: the stem of its file in `agencies/`.
    AgencyId
);
name!(
    /// An information system of an agency, written `agency/system`, such as `tax/etax`.
    SystemId
);
name!(
    /// An exchange server of an agency, written `agency/exchange`, such as `data-exchange/hub`.
    ExchangeId
);
name!(
    /// An enrolled purpose, such as `assessment`.
    PurposeId
);
name!(
    /// An `operationId` of a contract, such as `citizen.lookup`; it is the Cedar action.
    OperationId
);
name!(
    /// An upstream register, such as `population`.
    RegisterId
);
name!(
    /// A leaf of a response schema by its path, such as `Citizen.permanent_residence.province`; it is the Cedar resource.
    FieldName
);
name!(
    /// What fields are granted by, such as `identity`.
    GroupId
);

/// Identifies one disclosure (one request about one or more subjects) from decision to closing record.
///
/// Random, made by the gateway; printed as 32 lower-case hex digits (the `Gateway-Request-Id`).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DisclosureId(u128);

impl DisclosureId {
    /// Wraps 128 random bits.
    pub fn from_random(bits: u128) -> Self {
        Self(bits)
    }

    /// The 16 bytes, big-endian.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The inverse of [`DisclosureId::to_bytes`].
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

impl fmt::Display for DisclosureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for DisclosureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DisclosureId({self})")
    }
}

/// A value about a person. It can be used, but neither `Debug` nor `Display` can print it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Personal<T>(T);

impl<T> Personal<T> {
    /// Marks a value as personal.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. MUST NOT reach a log, an error text, a metric or a problem document.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: AsRef<[u8]>> fmt::Debug for Personal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<personal, {} bytes>", self.0.as_ref().len())
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Personal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The position of a field in its [`crate::contract::RecordSchema::fields`]; below [`FieldSet::CAPACITY`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct FieldIx(pub u16);

/// A set of fields of one record schema: 128 bits, copied, never allocated.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FieldSet(u128);

impl FieldSet {
    /// The most leaf fields that one record schema may have.
    pub const CAPACITY: usize = 128;
    /// The set of no field.
    pub const EMPTY: Self = Self(0);

    /// Adds a field.
    pub fn insert(&mut self, field: FieldIx) {
        self.0 |= Self::bit(field);
    }

    /// Removes a field.
    pub fn remove(&mut self, field: FieldIx) {
        self.0 &= !Self::bit(field);
    }

    /// Whether the field is in the set.
    pub fn contains(self, field: FieldIx) -> bool {
        self.0 & Self::bit(field) != 0
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many fields the set holds.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The fields of either set.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The fields in ascending order.
    pub fn iter(self) -> impl Iterator<Item = FieldIx> {
        let mut bits = self.0;
        std::iter::from_fn(move || {
            let at = bits.trailing_zeros();
            (bits != 0).then(|| {
                bits &= bits - 1;
                FieldIx(at as u16)
            })
        })
    }

    /// The 16 bytes, little-endian: bit `n` is field `n`.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }

    /// The inverse of [`FieldSet::to_bytes`].
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_le_bytes(bytes))
    }

    fn bit(field: FieldIx) -> u128 {
        1u128.checked_shl(u32::from(field.0)).unwrap_or(0)
    }
}

impl FromIterator<FieldIx> for FieldSet {
    fn from_iter<I: IntoIterator<Item = FieldIx>>(fields: I) -> Self {
        let mut set = Self::EMPTY;
        for field in fields {
            set.insert(field);
        }
        set
    }
}

impl fmt::Debug for FieldSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|field| field.0)).finish()
    }
}

/// What a caller gets of one field.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Treatment {
    /// The value as the register gave it.
    Reveal,
    /// The value through a mask.
    Mask(MaskKind),
    /// Only whether a claimed value is right. The weakest disclosure above nothing.
    Match,
    /// Nothing.
    Withhold,
}

/// The masks that a contract may allow for a field (`x-gateway-masks`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MaskKind {
    /// A date (`1987-03-14`) as its month: the string `1987-03`.
    Month,
    /// A date as its year: the integer `1987`.
    Year,
    /// A date as the first year of its decade: the integer `1980`.
    Decade,
    /// A string's last three characters behind an asterisk: `*678`.
    Last3,
    /// A string's last four characters behind an asterisk.
    Last4,
    /// The first letter of each word: `L. T. H.`.
    Initials,
    /// A keyed pseudonym: HMAC-SHA-256 over the value, first 128 bits, 32 hex digits; per agency, purpose and field.
    Pseudonym,
    /// `true` where the record has a value that is not null.
    Exists,
}

impl MaskKind {
    /// Every mask, in no order of strength: that order is each field's own.
    pub const ALL: [Self; 8] = [
        Self::Month,
        Self::Year,
        Self::Decade,
        Self::Last3,
        Self::Last4,
        Self::Initials,
        Self::Pseudonym,
        Self::Exists,
    ];

    /// The name used in contracts and in `@mask("...")`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Month => "month",
            Self::Year => "year",
            Self::Decade => "decade",
            Self::Last3 => "last3",
            Self::Last4 => "last4",
            Self::Initials => "initials",
            Self::Pseudonym => "pseudonym",
            Self::Exists => "exists",
        }
    }

    /// The mask of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mask| mask.as_str() == name)
    }
}

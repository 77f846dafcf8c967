//! Households, the unit of the population, and how a number decodes to a member of one.
//!
//! A household is (province, birth year of its head, lane). The lane is the male line: the head's father heads the
//! household of the same province and lane one generation earlier, the spouse's father heads one some blocks of lanes
//! away, so kinship is arithmetic. What a household looks like depends on the year and on the lane's place in its
//! block of [`BLOCK`] lanes only, so blocks of a year have equal sizes and the population can be counted.
//!
//! A serial is (role, lane). The role holds the difference between the member's year of birth and the head's; with the
//! year in the number this gives the head's year, hence the household. Two persons cannot share a number: province,
//! sex, year, role and lane would be equal. INVARIANT: `ROLES * LANES <= SERIALS`.

use std::sync::LazyLock;

use super::{
    Number, Sex, chance, draw,
    number::{Parts, SERIALS},
    province::Province,
};

/// A household that may exist; [`Household::new`] checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Household {
    pub(super) province: Province,
    /// The year of birth of the head.
    pub(super) base: i16,
    pub(super) lane: u64,
}

/// A citizen as a member of a household.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) household: Household,
    pub(super) member: Member,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Member {
    Head,
    Spouse,
    /// Lives with the parents; born so many years after the head, which no sibling at home shares.
    Child(i16),
}

/// Who lives in a household.
#[derive(Clone, Debug)]
pub(super) struct Composition {
    couple: bool,
    kin: Kin,
    /// Years after the head's birth, ascending.
    children: Vec<i16>,
}

/// Differences of years that hold for a lane in every generation, so that they can be inverted.
#[derive(Clone, Copy, Debug)]
struct Kin {
    /// From the head's birth to the spouse's.
    spouse: i16,
    /// From the head's birth to that of the child who heads the lane next.
    heir: i16,
    /// From the head's birth to that of the daughter who is spouse in another lane.
    daughter: i16,
}

impl Household {
    pub(super) fn new(province: Province, base: i16, lane: u64) -> Option<Self> {
        let exists = (FIRST..=LAST).contains(&base) && lane < blocks(province) * BLOCK;
        exists.then_some(Self { province, base, lane })
    }

    pub(super) fn composition(self) -> &'static Composition {
        composition(self.base, self.lane % BLOCK)
    }

    pub(super) fn members(self) -> impl Iterator<Item = Person> {
        let Composition { couple, children, .. } = self.composition();
        let spouse = couple.then_some(Member::Spouse);
        let children = children.iter().map(|offset| Member::Child(*offset));
        std::iter::once(Member::Head).chain(spouse).chain(children).map(move |member| self.person(member))
    }

    pub(super) fn person(self, member: Member) -> Person {
        Person { household: self, member }
    }

    pub(super) fn spouse(self) -> Option<Person> {
        self.composition().couple.then(|| self.person(Member::Spouse))
    }

    /// Everybody whose parents are this couple: at home, and in households of their own.
    pub(super) fn children(self) -> Vec<Person> {
        let Composition { couple, kin, children } = self.composition();
        let mut all: Vec<Person> = children.iter().map(|offset| self.person(Member::Child(*offset))).collect();
        if *couple {
            let heir = Self::new(self.province, self.base + kin.heir, self.lane).map(|home| home.person(Member::Head));
            let lanes = blocks(self.province) * BLOCK;
            let lane = (self.lane + MARRIAGE) % lanes.max(1);
            let daughter = Self::new(self.province, self.base + kin.daughter - kin.spouse, lane);
            all.extend(heir.into_iter().chain(daughter.and_then(Self::spouse)));
            all.sort_by_key(|child| (child.year(), child.number()));
        }
        all
    }

    /// The year of birth of the youngest child.
    pub(super) fn last_birth(self) -> Option<i16> {
        self.composition().children.last().map(|offset| self.base + offset)
    }

    /// The year in which the couple married: the man is 20 then, the woman 18, and no child is older than the marriage.
    pub(super) fn wedding_year(self) -> Option<i16> {
        let Composition { couple, kin, children } = self.composition();
        let least = (kin.spouse + 18).max(20);
        let first = children.first().copied().unwrap_or(OLDEST_PARENT).min(kin.heir).min(kin.daughter);
        let most = (first - 1).min(least + 6).min(super::LAST_YEAR - self.base).max(least);
        let choices = u64::from((most - least + 1).unsigned_abs()).max(1);
        couple.then(|| self.base + least + (draw(self.seed(), 0x62) % choices) as i16)
    }

    /// Which of all households this is: dense enough to number certificates by.
    pub(super) fn place(self) -> u64 {
        u64::from(self.base.abs_diff(FIRST)) * LANES + self.lane
    }

    /// The line of the spouse's parents, the own one, and the line that daughters marry into.
    pub(super) fn kindred_lanes(self) -> [u64; 3] {
        let lanes = (blocks(self.province) * BLOCK).max(1);
        [self.in_laws().1, self.lane, (self.lane + MARRIAGE) % lanes]
    }

    pub(super) fn seed(self) -> u64 {
        draw(self.line().wrapping_add(self.base.unsigned_abs().into()), 0x68)
    }

    /// What seeds draws about the male line of its head.
    pub(super) fn line(self) -> u64 {
        draw(u64::from(self.province.code()), self.lane)
    }

    /// Unique, in the form of records.
    pub(super) fn id(self) -> String {
        format!("HH-{}-{:010}", self.province.code_text(), self.place())
    }

    /// The household of the spouse's parents, whether or not it goes back so far.
    fn in_laws(self) -> (i16, u64) {
        let kin = self.composition().kin;
        let lanes = blocks(self.province) * BLOCK;
        (self.base + kin.spouse - kin.daughter, (self.lane + lanes - MARRIAGE) % lanes.max(1))
    }
}

impl Person {
    /// The member that a number stands for, if such a citizen exists.
    pub(super) fn of(number: Number) -> Option<Self> {
        let Parts { province, sex, year, serial } = number.parts()?;
        let (role, lane) = (serial / LANES, serial % LANES);
        let (base, member) = match i16::try_from(role).ok()? {
            0 => (year, Member::Head),
            role if role < CHILD => (year - (role - SPOUSE) - ELDEST_SPOUSE, Member::Spouse),
            role if role < ROLES => {
                (year - (role - CHILD) - YOUNGEST_PARENT, Member::Child(role - CHILD + YOUNGEST_PARENT))
            }
            _ => return None,
        };
        let household = Household::new(province.unshifted(registered_away(role, lane)), base, lane)?;
        let person = household.person(member);
        let composition = household.composition();
        let lives_there = match member {
            Member::Head => true,
            Member::Spouse => composition.couple && year == person.year(),
            Member::Child(offset) => composition.children.contains(&offset),
        };
        (lives_there && sex == person.sex()).then_some(person)
    }

    pub(super) fn number(self) -> Number {
        let (role, lane) = (self.role(), self.household.lane);
        let province = self.household.province.shifted(registered_away(role, lane));
        let serial = role * LANES + lane;
        Number::assemble(Parts { province, sex: self.sex(), year: self.year(), serial })
    }

    pub(super) fn year(self) -> i16 {
        self.household.base
            + match self.member {
                Member::Head => 0,
                Member::Spouse => self.household.composition().kin.spouse,
                Member::Child(offset) => offset,
            }
    }

    pub(super) fn sex(self) -> Sex {
        let even = |salt| draw(self.household.seed(), salt).is_multiple_of(2);
        match self.member {
            Member::Spouse => Sex::Female,
            Member::Head if self.household.composition().couple || even(0x100) => Sex::Male,
            Member::Child(offset) if even(0x101 + u64::from(offset.unsigned_abs())) => Sex::Male,
            Member::Head | Member::Child(_) => Sex::Female,
        }
    }

    /// The couple whose child this is; none where they died before the register began.
    pub(super) fn parents(self) -> Option<Household> {
        let Household { province, base, lane } = self.household;
        match self.member {
            Member::Child(_) => Some(self.household),
            Member::Head => Household::new(province, base - self.household.composition().kin.heir, lane),
            Member::Spouse => {
                let (base, lane) = self.household.in_laws();
                Household::new(province, base, lane)
            }
        }
    }

    /// What seeds draws about the male line that the person was born into.
    pub(super) fn line(self) -> u64 {
        match self.member {
            Member::Head | Member::Child(_) => self.household.line(),
            Member::Spouse => Household { lane: self.household.in_laws().1, ..self.household }.line(),
        }
    }

    fn role(self) -> u64 {
        let role = match self.member {
            Member::Head => 0,
            Member::Spouse => SPOUSE + self.household.composition().kin.spouse - ELDEST_SPOUSE,
            Member::Child(offset) => CHILD + offset - YOUNGEST_PARENT,
        };
        u64::from(role.unsigned_abs())
    }
}

impl Composition {
    /// How many live there.
    pub(super) fn size(&self) -> u64 {
        1 + u64::from(self.couple) + self.children.len() as u64
    }

    fn generate(base: i16, slot: u64) -> Self {
        let kin = Kin::of(slot);
        let seed = draw(slot, u64::from(base.unsigned_abs()));
        let alone = base >= MARRY_LATE && chance(seed, 1, 80 + 48 * u64::from(base.abs_diff(MARRY_LATE)));
        let couple = !alone && base + kin.spouse <= LAST;
        let mut children = Vec::new();
        if couple {
            let wanted = match draw(seed, 2) % 100 {
                0..8 => 0,
                8..32 => 1,
                32..76 => 2,
                76..93 => 3,
                _ => 4,
            };
            let moved_out = |offset| base + kin.heir <= LAST && (offset == kin.heir || offset == kin.daughter);
            let mut offset = YOUNGEST_PARENT + (draw(seed, 3) % 8) as i16;
            for child in 0..wanted {
                if offset > OLDEST_PARENT {
                    break;
                }
                if (STILL_AT_HOME..=NEWBORN).contains(&(base + offset)) && !moved_out(offset) {
                    children.push(offset);
                }
                offset += 2 + (draw(seed, 4 + child) % 5) as i16;
            }
        }
        Self { couple, kin, children }
    }
}

impl Kin {
    /// No child is born before its mother is 18: the least difference less the youngest spouse's.
    fn of(slot: u64) -> Self {
        let spouse = ELDEST_SPOUSE + (draw(slot, 0x6b) % SPOUSE_YEARS) as i16;
        let heir = 24 + (draw(slot, 0x6c) % 10) as i16;
        let daughter = 24 + (draw(slot, 0x6d) % 10) as i16;
        let daughter = if heir.abs_diff(daughter) < 2 { heir + 2 } else { daughter };
        Self { spouse, heir, daughter }
    }
}

/// How many blocks of lanes a province has in every year: by its population, up to what serials allow.
pub(super) fn blocks(province: Province) -> u64 {
    (province.weight() * BLOCKS_PER_THOUSAND_WEIGHT / 1000).min(LANES / BLOCK)
}

pub(super) fn composition(base: i16, slot: u64) -> &'static Composition {
    static NOBODY: Composition =
        Composition { couple: false, kin: Kin { spouse: 0, heir: 0, daughter: 0 }, children: Vec::new() };
    static TABLE: LazyLock<Vec<Composition>> = LazyLock::new(|| {
        years().flat_map(|base| (0..BLOCK).map(move |slot| Composition::generate(base, slot))).collect()
    });
    let row = usize::from(base.abs_diff(FIRST)) * BLOCK as usize + slot as usize;
    TABLE.get(row).unwrap_or(&NOBODY)
}

/// The years in which heads were born.
pub(super) fn years() -> std::ops::RangeInclusive<i16> {
    FIRST..=LAST
}

/// A fifth of the grown-ups were registered at birth in another province than their household's lane is of.
fn registered_away(role: u64, lane: u64) -> u64 {
    let seed = draw(role, lane);
    if role < CHILD as u64 && chance(seed, 0x72, 200) { 1 + draw(seed, 0x73) % 33 } else { 0 }
}

/// Lanes of a block.
pub(super) const BLOCK: u64 = 64;
/// The most lanes a province can have.
const LANES: u64 = 35_712;
/// Above every [`Household::place`].
pub(super) const PLACES: u64 = (LAST - FIRST + 1) as u64 * LANES;
/// No household has more members.
pub(super) const MEMBERS: u64 = 8;
const ROLES: i16 = CHILD + OLDEST_PARENT - YOUNGEST_PARENT + 1;
const _: () = assert!(ROLES as u64 * LANES <= SERIALS && LANES.is_multiple_of(BLOCK));

const SPOUSE: i16 = 1;
const SPOUSE_YEARS: u64 = 7;
/// A spouse may be a year older than the head, and up to five years younger.
const ELDEST_SPOUSE: i16 = -1;
const CHILD: i16 = SPOUSE + SPOUSE_YEARS as i16;
const YOUNGEST_PARENT: i16 = 23;
const OLDEST_PARENT: i16 = 42;
/// Whole blocks, so that kin have the same [`Kin`]; less than any province's lanes.
pub(super) const MARRIAGE: u64 = 7 * BLOCK;

/// The birth years of heads.
const FIRST: i16 = 1935;
const LAST: i16 = 2005;
/// From this year on, some heads live alone. INVARIANT: later than `LAST` less the least heir's difference, so that
/// no parents are single.
const MARRY_LATE: i16 = 1988;
const STILL_AT_HOME: i16 = 1999;
const NEWBORN: i16 = 2025;

/// Chosen so that the population is a little more than 100 million.
const BLOCKS_PER_THOUSAND_WEIGHT: u64 = 86;

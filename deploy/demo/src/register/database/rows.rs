//! A record as a row: the columns are the leaves of the record, in its order.

use std::{error::Error, pin::Pin, str::FromStr as _};

use bytes::BytesMut;
use tokio_postgres::{
    Row,
    binary_copy::BinaryCopyInWriter,
    types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked},
};

use super::DatabaseError;
use crate::register::{
    Citizen, Number, Sex,
    citizen::{
        CurrentResidence, HouseholdEntry, MaritalStatus, PermanentResidence, Relation, Relative, TemporaryResidence,
        Text,
    },
};

/// Name, declaration, and type on the wire.
pub(super) const COLUMNS: [(&str, &str, Type); 40] = [
    ("id", "text collate \"C\" not null", Type::TEXT),
    ("old_id", "text", Type::TEXT),
    ("full_name", "text collate \"C\" not null", Type::TEXT),
    ("other_names", "text[] not null", Type::TEXT_ARRAY),
    ("date_of_birth", "date not null", Type::DATE),
    ("sex", "text not null", Type::TEXT),
    ("place_of_birth", "text not null", Type::TEXT),
    ("birth_registration_place", "text not null", Type::TEXT),
    ("home_town", "text not null", Type::TEXT),
    ("ethnicity", "text not null", Type::TEXT),
    ("religion", "text", Type::TEXT),
    ("nationality", "text not null", Type::TEXT),
    ("blood_type", "text", Type::TEXT),
    ("marital_status", "text not null", Type::TEXT),
    ("province", "text not null", Type::TEXT),
    ("province_code", "text collate \"C\" not null", Type::TEXT),
    ("ward", "text collate \"C\" not null", Type::TEXT),
    ("address", "text not null", Type::TEXT),
    ("temporary_province", "text", Type::TEXT),
    ("temporary_address", "text", Type::TEXT),
    ("current_province", "text not null", Type::TEXT),
    ("current_ward", "text not null", Type::TEXT),
    ("current_address", "text not null", Type::TEXT),
    ("declared_absence", "text", Type::TEXT),
    ("father_id", "text", Type::TEXT),
    ("father_name", "text", Type::TEXT),
    ("mother_id", "text", Type::TEXT),
    ("mother_name", "text", Type::TEXT),
    ("spouse_id", "text", Type::TEXT),
    ("spouse_name", "text", Type::TEXT),
    ("children_ids", "text[] not null", Type::TEXT_ARRAY),
    ("representative_id", "text", Type::TEXT),
    ("representative_name", "text", Type::TEXT),
    ("household_id", "text collate \"C\" not null", Type::TEXT),
    ("head_id", "text not null", Type::TEXT),
    ("relation_to_head", "text not null", Type::TEXT),
    ("date_of_death", "date", Type::DATE),
    ("phone", "text", Type::TEXT),
    ("email", "text", Type::TEXT),
    ("eid_level", "smallint not null", Type::INT2),
];

/// What a row has beside the record: the place among the members of the household.
pub(super) const MEMBER: (&str, &str, Type) = ("member", "smallint not null", Type::INT2);

/// As a statement names them.
pub(super) fn columns() -> String {
    COLUMNS.map(|(name, _, _)| name).join(", ")
}

/// The record of a row of [`columns`].
pub(super) fn citizen(row: &Row) -> Result<Citizen, DatabaseError> {
    let mut row = Fields { row, at: 0 };
    // Fields are read in this order: it MUST be that of the columns.
    Ok(Citizen {
        id: row.next()?,
        old_id: row.next()?,
        full_name: row.next()?,
        other_names: row.next::<Vec<String>>()?.into_iter().map(Text::from).collect(),
        date_of_birth: row.next()?,
        sex: row.word(Sex::of_word)?,
        place_of_birth: row.text()?,
        birth_registration_place: row.text()?,
        home_town: row.next()?,
        ethnicity: row.text()?,
        religion: row.maybe_text()?,
        nationality: row.text()?,
        blood_type: row.maybe_text()?,
        marital_status: row.word(MaritalStatus::of_word)?,
        permanent_residence: PermanentResidence {
            province: row.text()?,
            province_code: row.next()?,
            ward: row.next()?,
            address: row.next()?,
        },
        temporary_residence: {
            let (province, address) = (row.maybe_text()?, row.next()?);
            province.zip(address).map(|(province, address)| TemporaryResidence { province, address })
        },
        current_residence: CurrentResidence { province: row.text()?, ward: row.next()?, address: row.next()? },
        declared_absence: row.maybe_text()?,
        father: row.relative()?,
        mother: row.relative()?,
        spouse: row.relative()?,
        children_ids: row.next()?,
        legal_representative: row.relative()?,
        household: HouseholdEntry {
            id: row.next()?,
            head_id: row.next()?,
            relation_to_head: row.word(Relation::of_word)?,
        },
        date_of_death: row.next()?,
        phone: row.next()?,
        email: row.next()?,
        eid_level: {
            let level: i16 = row.next()?;
            u8::try_from(level).map_err(|_| DatabaseError::Row("eid_level"))?
        },
    })
}

/// Writes a record as values of [`COLUMNS`] and [`MEMBER`].
pub(super) async fn written(
    writer: Pin<&mut BinaryCopyInWriter>,
    citizen: &Citizen,
    member: i16,
) -> Result<(), tokio_postgres::Error> {
    let Citizen { permanent_residence, temporary_residence, current_residence, household, .. } = citizen;
    let split = |relative: &Option<Relative>| -> (Option<Number>, Option<String>) {
        relative.clone().map(|Relative { id, full_name }| (id, full_name)).unzip()
    };
    let (father, mother) = (split(&citizen.father), split(&citizen.mother));
    let (spouse, representative) = (split(&citizen.spouse), split(&citizen.legal_representative));
    let temporary_province = temporary_residence.as_ref().map(|stay| &stay.province);
    let temporary_address = temporary_residence.as_ref().map(|stay| &stay.address);
    let values: [&(dyn ToSql + Sync); COLUMNS.len() + 1] = [
        &citizen.id,
        &citizen.old_id,
        &citizen.full_name,
        &citizen.other_names,
        &citizen.date_of_birth,
        &citizen.sex.word(),
        &citizen.place_of_birth,
        &citizen.birth_registration_place,
        &citizen.home_town,
        &citizen.ethnicity,
        &citizen.religion,
        &citizen.nationality,
        &citizen.blood_type,
        &citizen.marital_status.word(),
        &permanent_residence.province,
        &permanent_residence.province_code,
        &permanent_residence.ward,
        &permanent_residence.address,
        &temporary_province,
        &temporary_address,
        &current_residence.province,
        &current_residence.ward,
        &current_residence.address,
        &citizen.declared_absence,
        &father.0,
        &father.1,
        &mother.0,
        &mother.1,
        &spouse.0,
        &spouse.1,
        &citizen.children_ids,
        &representative.0,
        &representative.1,
        &household.id,
        &household.head_id,
        &household.relation_to_head.word(),
        &citizen.date_of_death,
        &citizen.phone,
        &citizen.email,
        &i16::from(citizen.eid_level),
        &member,
    ];
    writer.write(&values).await
}

/// A row, read from left to right.
struct Fields<'a> {
    row: &'a Row,
    at: usize,
}

impl<'a> Fields<'a> {
    fn next<T: FromSql<'a>>(&mut self) -> Result<T, DatabaseError> {
        let (row, at) = (self.row, self.at);
        self.at += 1;
        row.try_get(at).map_err(|_| self.wrong())
    }

    fn text(&mut self) -> Result<Text, DatabaseError> {
        self.next::<String>().map(Text::from)
    }

    fn maybe_text(&mut self) -> Result<Option<Text>, DatabaseError> {
        Ok(self.next::<Option<String>>()?.map(Text::from))
    }

    fn word<T>(&mut self, of_word: fn(&str) -> Option<T>) -> Result<T, DatabaseError> {
        let word: &str = self.next()?;
        of_word(word).ok_or_else(|| self.wrong())
    }

    fn relative(&mut self) -> Result<Option<Relative>, DatabaseError> {
        let (id, full_name): (Option<Number>, Option<String>) = (self.next()?, self.next()?);
        Ok(id.zip(full_name).map(|(id, full_name)| Relative { id, full_name }))
    }

    /// Of the column that was read last.
    fn wrong(&self) -> DatabaseError {
        DatabaseError::Row(COLUMNS.get(self.at.saturating_sub(1)).map_or("", |(name, _, _)| name))
    }
}

impl ToSql for Number {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(&self.digits());
        Ok(IsNull::No)
    }

    accepts!(TEXT);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Number {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self::from_str(std::str::from_utf8(raw)?)?)
    }

    accepts!(TEXT);
}

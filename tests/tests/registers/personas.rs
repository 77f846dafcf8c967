//! Who asks the other registers, for what, and what each of them gets.

use serde_json::{Value, json};

use super::{Persona, Sees};

/// Every persona.
pub(super) fn all() -> Vec<Persona> {
    vec![
        // Treatment: by what the patient is insured, not where the patient lives or what was paid in; every dose.
        persona(
            "hospital-north/his",
            "treatment",
            "health-card.read",
            "benefit_level benefit_percent card_number category continuous_since date_of_birth full_name \
             id primary_care_facility primary_care_facility_code province province_code sex \
             social_insurance_number status valid_from valid_until",
        ),
        persona(
            "hospital-north/his",
            "treatment",
            "immunisation.lookup",
            "contraindications date_of_birth doses.disease doses.facility_code doses.given_on \
             doses.lot_number doses.number doses.reaction doses.vaccine full_name id next_dose.disease \
             next_dose.due_on sex",
        ),
        // Vaccination: of a child also who brings it, and whom to call.
        persona(
            "vaccination-a/clinics",
            "vaccination",
            "immunisation.lookup",
            "contraindications date_of_birth doses.disease doses.facility_code doses.given_on \
             doses.lot_number doses.number doses.reaction doses.vaccine full_name guardian_full_name \
             guardian_phone id next_dose.disease next_dose.due_on phone sex",
        ),
        // Disease control: what people die of, and where.
        persona(
            "preventive-medicine/vaccination",
            "public-health",
            "death.read",
            "cause date_of_birth date_of_death full_name id place_of_death residence_province \
             residence_province_code sex",
        ),
        // Social insurance: who collects does not see benefits; who assists sees that there is a pension.
        persona(
            "social-insurance/contributions",
            "insurance-administration",
            "insured.lookup",
            "contribution.months contribution.paid_until contribution.salary \
             contribution.unemployment_insurance_months date_of_birth date_of_death \
             employment.employer_code employment.employer_name employment.since full_name \
             health_card_number id insured_since province province_code scheme sex \
             social_insurance_number status",
        ),
        persona(
            "social-protection/benefits",
            "social-benefit",
            "insured.lookup",
            "date_of_birth date_of_death full_name id sex status",
        )
        .masked(&[("pension.granted_on", json!(true))]),
        // Taxes: land without mortgages, enterprises with owners, and its own record whole.
        persona(
            "tax/etax",
            "assessment",
            "landholding.lookup",
            "date_of_birth date_of_death full_name id titles.area titles.certificate_number \
             titles.land_use titles.province titles.share titles.ward titles_count total_area",
        ),
        persona(
            "tax/etax",
            "assessment",
            "enterprise.lookup",
            "beneficial_owners.id beneficial_owners.name beneficial_owners.share_percent charter_capital \
             code employees head_office.address head_office.province head_office.province_code \
             head_office.ward kind main_activity name owners.id owners.name owners.share_percent \
             registered_on representative.appointed_on representative.date_of_birth \
             representative.date_of_death representative.full_name representative.id \
             representative.nationality representative.position short_name status",
        ),
        persona(
            "tax/etax",
            "assessment",
            "taxpayer.lookup",
            "bank_account business_household_code date_of_birth date_of_death debt.amount \
             debt.enforcement debt.since dependant_ids email exit_suspended former_code full_name id \
             in_debt managing_office phone province province_code registered_on sex status years.tax_due \
             years.tax_paid years.taxable_income years.year",
        ),
        // Land: a province sees the titles on its territory.
        persona(
            "ha-noi/portal",
            "land-registration",
            "land-title.lookup",
            "certificate_number co_holder_ids date_of_birth date_of_death encumbered \
             encumbrances.in_favour_of encumbrances.kind encumbrances.registered_on full_name \
             house.built_in house.floor_area house.floors id issued_by issued_on joint last_price \
             parcel.address parcel.area parcel.land_use parcel.number parcel.province \
             parcel.province_code parcel.sheet parcel.used_until parcel.ward share",
        ),
        persona("ho-chi-minh/portal", "land-registration", "land-title.lookup", ""),
        // Banks compare, and see nothing.
        persona("bank-a/collateral", "secured-loan", "land-title.verify", "")
            .matched("area certificate_number encumbered full_name id share"),
        persona("bank-a/collateral", "secured-loan", "land-title.lookup", ""),
        persona("bank-a/ekyc", "e-kyc", "enterprise.verify", "")
            .matched("beneficial_owner_name code date_of_birth full_name id name status"),
        persona("bank-a/loans", "credit-assessment", "insured.verify", "")
            .matched("date_of_birth employer_code full_name id status"),
        // Roads: the patrol sees points, the garage initials, the employer yes or no.
        persona(
            "traffic-police/dispatch",
            "road-safety",
            "driving-licence.read",
            "address classes.class classes.granted_on classes.valid_until date_of_birth full_name glasses \
             id issued_by issued_on licence_number nationality offences.article offences.on \
             offences.points points province province_code sex status suspended_until",
        ),
        persona(
            "vehicle-inspection/inspection",
            "road-safety",
            "vehicle.lookup",
            "chassis_number colour commercial engine_number inspected_until insured_until insurer kind \
             made_in make model payload plate registered_on registration_number seats status",
        )
        .masked(&[("owner.full_name", json!("L. T. H."))]),
        persona("ride-hailing-a/onboarding", "driver-verification", "driving-licence.verify", "")
            .matched("class date_of_birth full_name id licence_number status"),
        // Notaries: what the deed is about, and a hint at who else must sign.
        persona(
            "notary-a/deeds",
            "notarisation",
            "land-title.lookup",
            "certificate_number date_of_birth date_of_death encumbered encumbrances.in_favour_of \
             encumbrances.kind encumbrances.registered_on full_name house.built_in house.floor_area \
             house.floors id issued_by issued_on joint parcel.address parcel.area parcel.land_use \
             parcel.number parcel.province parcel.province_code parcel.sheet parcel.used_until \
             parcel.ward share",
        )
        .masked(&[("co_holder_ids", json!("*0004"))]),
        // Statistics: by night, and nobody by name.
        persona("statistics/warehouse", "statistics", "death.read", "cause place_of_death residence_province sex")
            .masked(&[
                ("date_of_birth", json!(1950)),
                ("date_of_death", json!("2023-12")),
                ("id", json!("0bc9e9955e990dd014775ff5b7a54b9c")),
            ])
            .at(23),
        persona("statistics/warehouse", "statistics", "death.read", ""),
        // The register of civil status, whole, to a registrar.
        persona(
            "civil-status/ehotich",
            "civil-status-registration",
            "birth.lookup",
            "date_of_birth date_of_death declared_by ethnicity father_full_name father_id full_name \
             home_town id late mother_full_name mother_id nationality place_of_birth registered_on \
             registration_number registry registry_province registry_province_code residence_province \
             residence_province_code sex",
        ),
        // One word of a tax record at the border; one word of a vaccination at the school; income to who verifies declarations.
        persona(
            "immigration/gates",
            "border-control",
            "taxpayer.lookup",
            "date_of_birth exit_suspended full_name id in_debt sex",
        ),
        persona("ha-noi/school", "school-enrolment", "immunisation.verify", "")
            .matched("date_of_birth disease full_name id"),
        persona(
            "inspectorate/declarations",
            "asset-verification",
            "taxpayer.lookup",
            "date_of_birth full_name id sex years.tax_due years.tax_paid years.taxable_income years.year",
        ),
        // The dead, and what they had: for who settles it, and for nobody else.
        persona("tax/etax", "assessment", "landholding.lookup", LAND).of("/date_of_death", json!("2026-01-02")),
        persona("business-registration/eregistration", "business-registration", "business-interest.lookup", "")
            .of("/date_of_death", json!("2026-01-02")),
        // A grown person needs nobody to bring them.
        persona("vaccination-a/clinics", "vaccination", "immunisation.lookup", VACCINATED)
            .of("/date_of_birth", json!("1990-06-22")),
    ]
}

fn persona(system: &'static str, purpose: &'static str, operation: &'static str, revealed: &str) -> Persona {
    let sees = Sees { revealed: words(revealed), ..Sees::default() };
    Persona { system, purpose, operation, record: Vec::new(), hour: 12, sees }
}

impl Persona {
    /// Sees fields through masks.
    fn masked(mut self, fields: &[(&str, Value)]) -> Self {
        self.sees.masked = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        self
    }

    /// May claim parameters.
    fn matched(mut self, parameters: &str) -> Self {
        self.sees.matched = words(parameters);
        self
    }

    /// Asks at that hour.
    fn at(mut self, hour: i8) -> Self {
        self.hour = hour;
        self
    }

    /// Asks about a record that differs from the example.
    fn of(mut self, pointer: &'static str, value: Value) -> Self {
        self.record.push((pointer, value));
        self
    }
}

fn words<T: FromIterator<String>>(text: &str) -> T {
    text.split_whitespace().map(str::to_owned).collect()
}

const LAND: &str = "date_of_birth date_of_death full_name id titles.area titles.certificate_number titles.land_use \
     titles.province titles.share titles.ward titles_count total_area";
const VACCINATED: &str = "contraindications date_of_birth doses.disease doses.facility_code doses.given_on doses.lot_number \
     doses.number doses.reaction doses.vaccine full_name id next_dose.disease next_dose.due_on phone sex";

//! `[break_glass]`: whose orders are taken, and where they are kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::section::{Reader, Section};
use super::{read, signers};
use crate::break_glass::{MOST_SITE, Rules};
use crate::suspend::is_plain;

/// `[break_glass]`.
#[derive(Clone, Debug)]
pub struct BreakGlass {
    /// The folder of orders and their ledger.
    pub folder: PathBuf,
    /// What an order must be.
    pub rules: Rules,
}

/// Without the section no orders are taken.
pub(super) fn parse(reader: &Reader<'_>, top: &Section<'_>, folder: &Path) -> Option<BreakGlass> {
    if !top.has("break_glass") {
        return None;
    }
    let section = top.section("break_glass");
    let orders = section.optional("folder", read::path(folder)).unwrap_or_else(|| folder.join("break-glass"));
    let site = section.required("site", |reader, value| {
        let site = read::text(reader, value)?;
        match is_plain(site, MOST_SITE) {
            Ok(()) => Some(site.to_owned()),
            Err(wrong) => {
                reader.mend("bad-site", value.span(), format!("the site's name {wrong}"), "such as `\"pop-hn-1\"`");
                None
            }
        }
    });
    let longest = section.optional("longest", read::duration).unwrap_or(LONGEST);
    if longest > MOST_LONGEST {
        let message = "no order may last longer than 72h: what lasts longer is a purpose to be enrolled";
        reader.mend("out-of-range", section.place("longest"), message, "such as `\"24h\"`");
    }
    let signatures = section.optional("signatures", read::count(2, 16)).unwrap_or(2) as usize;
    let keys = signers::keys(reader, &section, "break_glass", "popgate break-glass key");
    if let Some(keys) = &keys
        && keys.len() < signatures
    {
        let message = format!("{signatures} must sign an order, and {} may", keys.len());
        let help = "add keys to `[break_glass.keys]`: `popgate break-glass key NAME` makes one; nobody lends alone, so that two \
                    are the least";
        reader.mend("too-few-keys", section.place("keys"), message, help);
    }
    section.finish();
    Some(BreakGlass { folder: orders, rules: Rules { site: site?, longest, signatures, keys: keys? } })
}

const LONGEST: Duration = Duration::from_secs(24 * 3600);
const MOST_LONGEST: Duration = Duration::from_secs(72 * 3600);

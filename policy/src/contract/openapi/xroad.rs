//! `x-gateway-xroad`: the X-Road service that a document's paths are, for exchange servers.

use crate::document::{Node, Sheet, Table};
use crate::xroad::ServiceId;

use super::{Loader, place};

impl Loader {
    /// Reads the service of a document whose `paths` are these.
    pub(super) fn service(&mut self, sheet: &mut Sheet<'_>, node: &Node, paths: Option<&Table>) {
        let what = "`x-gateway-xroad`";
        let Some(table) = sheet.table(node, what) else { return };
        sheet.check_keys(table, what, &["service", "base"]);
        let service = sheet.required(table, &node.span, what, "service").and_then(|node| id(sheet, node));
        let base = sheet
            .required(table, &node.span, what, "base")
            .and_then(|node| base(sheet, node, paths.into_iter().flat_map(Table::keys)));
        let (Some(service), Some(base)) = (service, base) else { return };
        let here = place(sheet, &node.span);
        if let Some(there) = self.services.insert(service.clone(), here) {
            let at = table.node("service").map_or(&node.span, |node| &node.span);
            let problem =
                sheet.error("duplicate-service", at, format!("the service `{service}` is also that of {there}"));
            sheet.push(problem.help("a service has one document; give this one another service code"));
            return;
        }
        self.contracts.services.insert(service, base.into());
    }
}

fn id(sheet: &mut Sheet<'_>, node: &Node) -> Option<ServiceId> {
    let typed = sheet.text(node, "`service`")?;
    let service = ServiceId::typed(typed);
    if service.is_none() {
        let problem = sheet.error("bad-xroad", &node.span, format!("`{typed}` is not the id of an X-Road service"));
        let form = "`instance/class/member/subsystem/service`, such as `VN/GOV/MPS/NPDB/population`";
        sheet.push(problem.help(form));
    }
    service
}

fn base<'n, 'p>(sheet: &mut Sheet<'_>, node: &'n Node, paths: impl Iterator<Item = &'p str>) -> Option<&'n str> {
    let typed = sheet.text(node, "`base`")?;
    // What a path begins with, as whole segments without parameters.
    let mut known: Vec<&str> = Vec::new();
    for path in paths {
        let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]);
        known.extend(ends.filter_map(|end| path.get(..end)).filter(|base| !base.contains('{')));
    }
    if known.contains(&typed) {
        return Some(typed);
    }
    let problem = sheet.error("bad-xroad", &node.span, format!("no path of this contract begins with `{typed}`"));
    // The shortest are what is most likely meant.
    known.sort_by_key(|base| base.len());
    known.dedup();
    sheet.push(problem.suggest(typed, known.into_iter().take(6)));
    None
}

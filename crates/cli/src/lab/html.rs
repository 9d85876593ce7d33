//! The matrix as a page that needs no network.

use std::collections::BTreeSet;
use std::fmt::{self, Write};
use std::time::Duration;

use super::cell::{Cell, Mark, Outcome};
use super::classic::Classic;
use super::expect::World;
use super::fault::Fault;
use super::method::Method;
use super::scene::{SET, system};
use super::table::{beside, described, measured, seconds};

/// A segment of one cell's connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passed {
    pub(super) fault: Fault,
    pub(super) method: Method,
    /// Since the fault.
    pub(super) after: Duration,
    /// Whether our end sent it; else it came, whether it was heard or not.
    pub(super) ours: bool,
    /// Bytes of data.
    pub(super) data: usize,
    pub(super) fin: bool,
    pub(super) rst: bool,
}

/// The whole page.
pub(super) fn page(
    cells: &[Cell],
    classics: &[Classic],
    passed: &[Passed],
    world: &World,
    lateness: Duration,
) -> String {
    let mut page = String::new();
    // A string takes everything.
    let _ = write(&mut page, cells, classics, passed, world, lateness);
    page
}

fn write(
    page: &mut String,
    cells: &[Cell],
    classics: &[Classic],
    passed: &[Passed],
    world: &World,
    lateness: Duration,
) -> fmt::Result {
    let runs = cells.first().map_or(0, |cell| cell.outcomes.len());
    let runs = if runs == 1 { "one run".to_owned() } else { format!("{runs} runs, medians") };
    write!(
        page,
        "<!doctype html><html lang=en><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width, initial-scale=1\">\
         <title>How a dead TCP peer is noticed</title><style>{}</style>\
         <h1>How, and when, a dead TCP peer is noticed</h1>\
         <p class=soft>Measured by deadpeer lab on {}{SET} ({runs}): real faults on real connections. Below each \
         time stands what was to be expected. Sleeping threads woke up to {} late.",
        include_str!("page.css"),
        escaped(&system()),
        seconds(lateness)
    )?;
    matrix(page, cells, world)?;
    if !classics.is_empty() {
        write!(page, "<h2>The classic keepalive settings</h2><p class=soft>Idle, and the peer's host dies.")?;
        write!(page, "<div class=scroll><table><thead><tr><th>idle / interval / probes")?;
        write!(page, "<th>measured<th>expected<tbody>")?;
        for classic in classics {
            let measured = match &classic.outcome {
                Outcome::Noticed { after, .. } => seconds(*after),
                Outcome::Not { watched } => format!("not within {}", seconds(*watched)),
                Outcome::LeftOut { why } => escaped(why),
            };
            let (least, most) = (seconds(classic.least), seconds(classic.most));
            write!(page, "<tr><th>{}<td>{measured}<td>{least}–{most}", classic.name)?;
        }
        write!(page, "</table></div>")?;
    }
    write!(
        page,
        "<h2>Fault by fault</h2><p class=soft>The red line is the moment of the fault. Ticks are \
         segments: above the line those that our end sent, below it those that came, heard or not; red ones are \
         resets. Faults between two hosts are not captured."
    )?;
    for fault in Fault::ALL {
        lanes(page, fault, cells, passed)?;
    }
    write!(page, "<h2>The methods</h2><ul>")?;
    for method in Method::ALL {
        let words = described(method, world);
        write!(page, "<li><strong>{}</strong>: {}", method.as_str(), escaped(&words))?;
    }
    write!(page, "</ul>")
}

fn matrix(page: &mut String, cells: &[Cell], world: &World) -> fmt::Result {
    write!(page, "<h2>The matrix</h2><div class=scroll><table><thead><tr><th>fault")?;
    for method in Method::ALL {
        write!(page, "<th title=\"{}\">{}", escaped(&method.words(&world.platform)), method.as_str())?;
    }
    write!(page, "<tbody>")?;
    for fault in Fault::ALL {
        write!(page, "<tr><th>{}", escaped(fault.words()))?;
        for cell in cells.iter().filter(|cell| cell.fault == fault) {
            let how = escaped(cell.how().unwrap_or_default());
            write!(
                page,
                "<td class={} title=\"{how}\">{}<small>{}</small>",
                cell.mark().as_str(),
                escaped(&measured(cell)),
                beside(cell)
            )?;
        }
    }
    write!(page, "</table></div>")
}

/// A line of time for each method: from the fault to the moment of noticing.
fn lanes(page: &mut String, fault: Fault, cells: &[Cell], passed: &[Passed]) -> fmt::Result {
    let cells: Vec<_> =
        cells.iter().filter(|cell| cell.fault == fault && cell.mark() != Mark::NotApplicable).collect();
    let longest = cells.iter().filter_map(|cell| cell.median()).max().unwrap_or_default().as_secs_f64();
    // Room for what is written behind the longest bar.
    let span = (longest * 1.45).max(5.0);
    let share = |seconds: f64| (seconds / span * 100.0).min(100.0);
    write!(
        page,
        "<h3>{}</h3><div class=\"lane axis\"><span></span><div class=track>",
        escaped(fault.words())
    )?;
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| span / step <= 8.0).unwrap_or(20.0);
    let mut tick = step;
    while tick < span * 0.97 {
        write!(page, "<b style=\"left:{:.2}%\">{tick} s</b>", share(tick))?;
        tick += step;
    }
    write!(page, "</div></div>")?;
    for cell in cells {
        let mark = cell.mark();
        let (to, open) = match cell.median() {
            Some(median) => (share(median.as_secs_f64()), ""),
            None => (70.0, " class=open"),
        };
        let how = cell.how().map(|how| format!(" · {}", escaped(how))).unwrap_or_default();
        write!(
            page,
            "<div class=lane><span>{}</span><div class=track><i{open} style=\"width:{to:.2}%\"></i>{}\
             <b class={} style=\"left:{to:.2}%\">{}<span class=soft>{how}</span></b></div></div>",
            cell.method.as_str(),
            ticks(passed, cell, share),
            mark.as_str(),
            escaped(&measured(cell)),
        )?;
    }
    Ok(())
}

/// The segments of a cell's connection: the first of each bundle that a line can show apart.
fn ticks(passed: &[Passed], cell: &Cell, share: impl Fn(f64) -> f64) -> String {
    let mut ticks = String::new();
    let mut shown = BTreeSet::new();
    let until = cell.median().unwrap_or(Duration::MAX).saturating_add(Duration::from_millis(500));
    for one in
        passed.iter().filter(|one| (one.fault, one.method) == (cell.fault, cell.method) && one.after <= until)
    {
        let at = share(one.after.as_secs_f64());
        if at >= 99.0 || !shown.insert(((at * 4.0) as u32, one.ours, one.rst)) {
            continue;
        }
        let class = match (one.ours, one.rst) {
            (true, false) => "out",
            (false, false) => "in",
            (true, true) => "out rst",
            (false, true) => "in rst",
        };
        let what = if one.rst {
            "reset"
        } else if one.fin {
            "FIN"
        } else {
            "segment"
        };
        let (bytes, after) = (one.data, seconds(one.after));
        let _ = write!(
            ticks,
            "<s class=\"{class}\" style=\"left:{at:.2}%\" title=\"{after}: {what}, {bytes} bytes\"></s>"
        );
    }
    ticks
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use deadpeer::Platform;

    use super::*;
    use crate::lab::cell::Expected;

    #[test]
    fn the_page_stands_alone_and_shows_every_cell() {
        let world = World {
            platform: Platform::linux(),
            fin_timeout: None,
            outage: Duration::ZERO,
            lacks: Vec::new(),
        };
        let second = Duration::from_secs(1);
        let cells: Vec<_> = Fault::ALL
            .into_iter()
            .flat_map(|fault| Method::ALL.map(|method| (fault, method)))
            .map(|(fault, method)| Cell {
                fault,
                method,
                expected: Expected::Within { least: second, most: second * 2 },
                outcomes: vec![Outcome::Noticed { after: second, how: "<ETIMEDOUT>".into() }],
                lateness: Duration::ZERO,
            })
            .collect();
        let page = page(&cells, &[], &[], &world, Duration::ZERO);
        for fetched in ["http", "src=", "@import", "url("] {
            assert!(!page.contains(fetched), "{fetched} needs a network");
        }
        assert!(page.contains("prefers-color-scheme: dark") && !page.contains("<ETIMEDOUT>"));
        assert_eq!(page.matches("<td class=").count(), cells.len());
    }
}

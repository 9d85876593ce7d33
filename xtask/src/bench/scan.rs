//! `cargo xtask bench scan`: reading all connections of a host.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use clap::builder::RangedU64ValueParser;

use super::bars::Bar;
use super::contest::Contest;
use super::holders::Holders;
use super::machine::Machine;
use super::programs::Programs;
use super::report::{Style, thousands};

/// How much a socket may take longer among the most sockets than among the fewest: what grows faster than
/// linearly is beyond that by far, and caches that no longer suffice are not.
const GROWTH: f64 = 1.5;

#[derive(Debug, Args)]
pub(crate) struct Scan {
    /// How many connections there shall be, each with both its sockets here: one number or several
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "100000",
        value_name = "N[,N...]",
        value_parser = RangedU64ValueParser::<usize>::new().range(1..)
    )]
    connections: Vec<usize>,
    /// How often each program is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Measure this binary of the command instead of building it
    #[arg(long, value_name = "PATH")]
    pub(super) deadpeer: Option<PathBuf>,
    #[command(flatten)]
    style: Style,
}

impl Scan {
    /// Opens the connections, measures, prints.
    pub(super) fn run(&self, programs: &Programs) -> Result<()> {
        let mut sizes = self.connections.clone();
        // Those of one size stay for the next: opening takes longer than measuring.
        sizes.sort_unstable();
        sizes.dedup();

        self.style.print_title("deadpeer scan beside its rivals");
        println!("{}", Machine::this());
        let mut holders = Holders::default();
        let mut contests = Vec::new();
        for size in sizes {
            eprintln!("opening {} connections", thousands(size));
            holders.grow_to(size)?;
            let mut contest = Contest::new(programs, size)?;
            contest.run(self.rounds)?;
            holders.check()?;
            contest.print(self.style);
            contests.push(contest);
        }
        self.style.print_title("Bars");
        self.style.print_list(contests.iter().flat_map(Contest::bars).chain([growth(&contests)]));
        Ok(())
    }
}

/// Whether the time of `deadpeer scan` grows linearly with the number of sockets.
fn growth(contests: &[Contest]) -> Bar {
    let what =
        format!("the time per socket among the most sockets is at most {GROWTH} times that among the fewest");
    let [fewest, .., most] = contests else {
        return Bar::not_judged(what, "needs several sizes, such as --connections 20000,100000,300000");
    };
    match (fewest.scan_per_socket(), most.scan_per_socket()) {
        (Some(before), Some(after)) => Bar::at_most(what, after / before, GROWTH, "times"),
        _ => Bar::not_judged(what, "the scan showed too few sockets"),
    }
}

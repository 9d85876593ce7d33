//! Manual pages and shell completions, from the one definition of the arguments.

use std::error::Error;
use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Args;
use crate::exit::{Ended, unless_closed};

/// `deadpeer man`
#[derive(Debug, clap::Args)]
pub(crate) struct Man {
    /// The command whose page is wanted.
    #[arg(value_name = "COMMAND")]
    pub command: Option<String>,
}

/// `deadpeer completions`
#[derive(Debug, clap::Args)]
#[command(after_help = COMPLETIONS_HELP)]
pub(crate) struct Completions {
    /// The shell.
    #[arg(value_parser = clap::builder::EnumValueParser::<Shell>::new())]
    pub shell: Shell,
}

const COMPLETIONS_HELP: &str = "\
Examples:
  deadpeer completions bash > /usr/share/bash-completion/completions/deadpeer
  deadpeer completions zsh  > /usr/local/share/zsh/site-functions/_deadpeer
  deadpeer completions fish > ~/.config/fish/completions/deadpeer.fish";

/// Runs `deadpeer man`.
pub(crate) fn man(args: &Man) -> Result<Ended, Box<dyn Error>> {
    let mut command = Args::command().flatten_help(true);
    command.build();
    if let Some(name) = &args.command {
        let found = command.find_subcommand(name).cloned();
        command = found.ok_or_else(|| format!("there is no command `{name}`"))?;
        // `man deadpeer-scan`, as git has it; SYNOPSIS keeps the name as it is typed.
        let page = format!("deadpeer-{name}");
        command = command.display_name(page);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    unless_closed(io::stdout().lock().write_all(&page))?;
    Ok(Ended::Well)
}

/// Runs `deadpeer completions`.
pub(crate) fn completions(args: &Completions) -> Result<Ended, Box<dyn Error>> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "deadpeer", &mut script);
    unless_closed(io::stdout().lock().write_all(&script))?;
    Ok(Ended::Well)
}

//! Man pages and shell completions of a command line, for packages.

use std::io;
use std::path::Path;

use clap::{Args, Command};
use clap_complete::Shell;

/// `pages DIR`
#[derive(Debug, Args)]
pub struct Pages {
    /// Where to write them: man1/, and one directory for each shell.
    #[arg(value_name = "DIR")]
    dir: std::path::PathBuf,
}

impl Pages {
    /// Writes the pages of `command`.
    ///
    /// # Errors
    /// A file cannot be written; the message names the directory.
    pub fn write(&self, command: &Command) -> Result<(), String> {
        write(command, &self.dir).map_err(|error| format!("{}: {error}", self.dir.display()))
    }
}

fn write(command: &Command, dir: &Path) -> io::Result<()> {
    let name = command.get_name().to_owned();
    let man = dir.join("man1");
    std::fs::create_dir_all(&man)?;
    clap_mangen::generate_to(command.clone(), &man)?;
    for (shell, place) in [(Shell::Bash, "bash"), (Shell::Zsh, "zsh"), (Shell::Fish, "fish")] {
        let place = dir.join(place);
        std::fs::create_dir_all(&place)?;
        clap_complete::generate_to(shell, &mut command.clone(), &name, &place)?;
    }
    Ok(())
}

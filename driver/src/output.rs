//! Standard output, which is for data. A reader that has gone away (`| head`) is an error here that `main` takes for the end.

use std::fmt::Display;
use std::io::{self, Write};

pub fn print(text: impl Display) -> io::Result<()> {
    write!(io::stdout(), "{text}")
}

pub fn line(text: impl Display) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}

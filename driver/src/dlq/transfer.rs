//! Letters as JSON lines, out of a database and into one.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{bail, Context};
use serde_json::value::RawValue;
use serde_json::Value;
use tokio_postgres::Client;

use crate::database::letters;
use crate::output;
use crate::table::json_line;

const PAGE: i32 = 1000;

pub async fn export(client: &Client, filter: &Value, file: Option<&Path>) -> anyhow::Result<()> {
    let mut out: Box<dyn Write> = match file {
        Some(path) => Box::new(BufWriter::new(
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600) // messages and addresses
                .open(path)
                .with_context(|| format!("cannot create {}", path.display()))?,
        )),
        None => Box::new(BufWriter::new(io::stdout())),
    };
    let mut after = None;
    loop {
        let (page, next) = letters::export_letters(client, filter, after.as_ref(), PAGE).await?;
        for letter in page {
            writeln!(out, "{}", json_line(letter))?;
        }
        after = next;
        if after.is_none() {
            break;
        }
    }
    Ok(out.flush()?)
}

pub async fn import(client: &Client, file: &Path) -> anyhow::Result<()> {
    let input: Box<dyn BufRead> = if file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let opened = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
        Box::new(BufReader::new(opened))
    };
    let (mut read, mut imported) = (0, 0);
    let mut batch = Vec::new();
    for (number, line) in (1..).zip(input.lines()) {
        let line = line.context("cannot read the letters")?;
        if line.trim().is_empty() {
            continue;
        }
        read += 1;
        let letter: Box<RawValue> =
            serde_json::from_str(&line).with_context(|| format!("line {number} is no JSON"))?;
        batch.push((number, letter));
        if batch.len() == PAGE as usize {
            take_in(client, &batch, &mut imported).await?;
            batch.clear();
        }
    }
    take_in(client, &batch, &mut imported).await?;
    output::line(format_args!("{imported} imported, {} skipped", read - imported))?;
    Ok(())
}

/// Takes in letters, each with the number of its line, up to the first that is refused: what is refused is halved until it is one.
async fn take_in(
    client: &Client,
    mut letters: &[(usize, Box<RawValue>)],
    imported: &mut i32,
) -> anyhow::Result<()> {
    let mut size = letters.len();
    while !letters.is_empty() {
        let (some, rest) = letters.split_at(size.min(letters.len()));
        let array: Vec<&RawValue> = some.iter().map(|(_, letter)| &**letter).collect();
        match letters::import_dead_letters(client, &array).await {
            Ok(count) => (*imported, letters) = (*imported + count, rest),
            Err(error) if !error.is_of_the_data() => return Err(error.into()),
            Err(_) if some.len() > 1 => size = some.len() / 2,
            Err(error) => {
                let line = some[0].0;
                bail!("line {line} is refused ({imported} imported before it): {error}")
            }
        }
    }
    Ok(())
}

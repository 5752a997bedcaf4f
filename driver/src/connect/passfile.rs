//! The password file, by libpq's rules: the first line that matches gives the password.

use std::fs;
use std::io;
use std::path::Path;

use tracing::warn;

/// What a line is compared with. `host` is the name as configured, the address where only
/// `hostaddr` is given, the directory of a Unix socket, or `localhost` for the default directory.
#[derive(Debug, Clone, Copy)]
pub struct Login<'a> {
    pub host: &'a str,
    pub port: u16,
    pub dbname: &'a str,
    pub user: &'a str,
}

/// The password for a login. A file that is missing, or that others could read, gives none.
pub fn lookup(path: &Path, login: Login<'_>) -> Option<String> {
    let text = match read_private(path) {
        Ok(text) => text?,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return None;
        }
        Err(e) => {
            warn!("password file {} cannot be read: {e}", path.display());
            return None;
        }
    };
    find(&text, login)
}

fn read_private(path: &Path) -> io::Result<Option<String>> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        warn!("password file {} is not a plain file: ignored", path.display());
        return Ok(None);
    }
    if open_to_others(&metadata) {
        warn!(
            "password file {} can be read by group or world: ignored; chmod 0600 mends it",
            path.display()
        );
        return Ok(None);
    }
    fs::read(path).map(|bytes| Some(String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(unix)]
fn open_to_others(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o077 != 0
}

#[cfg(not(unix))]
fn open_to_others(_: &fs::Metadata) -> bool {
    false
}

fn find(text: &str, login: Login<'_>) -> Option<String> {
    let port = login.port.to_string();
    let wanted = [login.host, &port, login.dbname, login.user];
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut rest = line;
        for want in wanted {
            let (matches, after) = field(rest, want)?;
            if !matches {
                return None;
            }
            rest = after;
        }
        let (password, _) = unescape(rest);
        Some(password)
    })
}

/// Compares the first field; `None` when the line has no further field.
fn field<'a>(line: &'a str, want: &str) -> Option<(bool, &'a str)> {
    // Only a bare star is a wildcard: `\*` is the character.
    if let Some(after) = line.strip_prefix("*:") {
        return Some((true, after));
    }
    let (value, after) = unescape(line);
    Some((value == want, after.strip_prefix(':')?))
}

/// The text up to a colon that is not escaped, without its escapes, and what follows.
fn unescape(line: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = line.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            ':' => return (value, &line[at..]),
            '\\' => value.push(chars.next().map_or('\\', |(_, escaped)| escaped)),
            _ => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGIN: Login<'_> =
        Login { host: "db.example", port: 5433, dbname: "app", user: "alerts" };

    #[test]
    fn first_match_wins() {
        let text = "# a comment\n\
                    other:5433:app:alerts:no\n\
                    db.example:5432:app:alerts:no\n\
                    db.example:*:app:alerts:first\n\
                    *:*:*:*:second\n";
        assert_eq!(find(text, LOGIN).as_deref(), Some("first"));
        assert_eq!(find(text, Login { port: 1, host: "x", ..LOGIN }).as_deref(), Some("second"));
        assert_eq!(find("db.example:5433:app:bob:x\n", LOGIN), None);
        assert_eq!(find("db.example:5433:app\n\n", LOGIN), None);
    }

    #[test]
    fn escapes() {
        let login = Login { host: "::1", dbname: "a\\b", user: "*", ..LOGIN };
        let text = "\\:\\:1:5433:a\\\\b:\\*:p\\:w\\\\d:ignored\r\n";
        assert_eq!(find(text, login).as_deref(), Some("p:w\\d"));
        // An escaped star is no wildcard, and a star inside a word is none either.
        assert_eq!(find("\\*:*:*:*:x", LOGIN), None);
        assert_eq!(find("db*:*:*:*:x", LOGIN), None);
        assert_eq!(find("*:*:*:*:päss wörd", LOGIN).as_deref(), Some("päss wörd"));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_open_to_others_is_ignored() {
        use std::os::unix::fs::PermissionsExt;
        let dir = std::env::temp_dir().join(format!("pgalert-passfile-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("pgpass");
        fs::write(&path, "*:*:*:*:secret\n").unwrap();
        for (mode, found) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(lookup(&path, LOGIN).is_some(), found, "mode {mode:o}");
        }
        assert_eq!(lookup(&dir, LOGIN), None);
        assert_eq!(lookup(&dir.join("missing"), LOGIN), None);
        fs::remove_dir_all(&dir).unwrap();
    }
}

//! The file of differences: bounded, begun anew when it is full, one before it kept.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

pub(super) struct Sample {
    path: PathBuf,
    most: u64,
    /// Open, with its length.
    file: Option<(File, u64)>,
}

impl Sample {
    pub(super) fn new(path: &Path, most: u64) -> Self {
        Self { path: path.to_owned(), most, file: None }
    }

    /// Appends a line. After an error the file is opened anew.
    pub(super) fn write(&mut self, line: &str) -> io::Result<()> {
        let (mut file, length) = match self.file.take() {
            Some(open) => open,
            None => self.open()?,
        };
        let more = line.len() as u64;
        let (mut file, length) = if length > 0 && length + more > self.most {
            file.flush()?;
            drop(file);
            fs::rename(&self.path, self.before())?;
            self.open()?
        } else {
            (file, length)
        };
        file.write_all(line.as_bytes())?;
        self.file = Some((file, length + more));
        Ok(())
    }

    fn open(&self) -> io::Result<(File, u64)> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        // Who asked what is not for everybody.
        let file = OpenOptions::new().create(true).append(true).mode(0o640).open(&self.path)?;
        let length = file.metadata()?.len();
        Ok((file, length))
    }

    fn before(&self) -> PathBuf {
        let mut path = self.path.as_os_str().to_owned();
        path.push(".1");
        path.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_never_grows_past_its_bound_and_one_before_it_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shadow/differences.jsonl");
        let mut sample = Sample::new(&path, 100);
        for number in 0..25 {
            sample.write(&format!("{{\"number\":{number:05}}}\n")).unwrap();
        }
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        let (now, before) = (read(&path), read(&sample.before()));
        assert!(now.len() <= 100 && before.len() <= 100);
        assert!(now.ends_with("{\"number\":00024}\n"), "{now}");
        assert!(before.lines().next().unwrap() < now.lines().next().unwrap());
        let mut later = Sample::new(&path, 100);
        later.write("{}\n").unwrap();
        assert!(read(&path).ends_with("00024}\n{}\n"), "another process goes on where this one ended");
    }
}

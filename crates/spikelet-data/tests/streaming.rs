//! Streams of more than 2 GB are read in constant memory: this process's peak is measured.

use std::io::{self, BufReader, Read};

use spikelet_data::stream::{Format, TimeSteps};

/// A header, then `left` bytes that repeat `pattern`.
struct Endless<'a> {
    header: &'a [u8],
    pattern: &'a [u8],
    at: usize,
    left: u64,
}

impl Read for Endless<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if !self.header.is_empty() {
            return self.header.read(out);
        }
        let rest = &self.pattern[self.at..];
        let n = out.len().min(rest.len()).min(self.left as usize);
        out[..n].copy_from_slice(&rest[..n]);
        self.at = (self.at + n) % self.pattern.len();
        self.left -= n as u64;
        Ok(n)
    }
}

/// Peak resident memory of this process in bytes, where the system tells it.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

fn count(header: &[u8], pattern: &[u8], bytes: u64, format: Format) -> u64 {
    let input = BufReader::with_capacity(1 << 16, Endless { header, pattern, at: 0, left: bytes });
    let names = ["ax", "ay", "az", "gx", "gy", "gz"].map(String::from);
    let mut steps = TimeSteps::new(input, "endless", &names, Some(format)).unwrap();
    let mut step = Vec::new();
    let mut sum = 0.0;
    while steps.next_step(&mut step).unwrap() {
        sum += f64::from(step[5]);
    }
    assert_eq!(sum, 0.5 * steps.steps() as f64);
    steps.steps()
}

#[test]
fn memory_does_not_grow_with_the_stream() {
    const ROWS: u64 = 90_000_000;
    let row: Vec<u8> =
        [1.0f32, 2.0, 3.0, -1.0, -2.0, 0.5].iter().flat_map(|v| v.to_le_bytes()).collect();
    let block = row.repeat(4096);
    let before = peak();

    let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({ROWS}, 6), }}\n");
    let mut npy = b"\x93NUMPY\x01\0".to_vec();
    npy.extend((text.len() as u16).to_le_bytes());
    npy.extend(text.as_bytes());
    const { assert!(ROWS * 24 > 2 << 30) };
    assert_eq!(count(&npy, &block, ROWS * 24, Format::Npy), ROWS);

    // What follows shares that code or is slower to parse; 64 MB would show just as well if rows were kept.
    let rows = (64 << 20) / 24;
    let text =
        format!(r#"{{"x":{{"dtype":"F32","shape":[{rows},6],"data_offsets":[0,{}]}}}}"#, rows * 24);
    let mut safetensors = (text.len() as u64).to_le_bytes().to_vec();
    safetensors.extend(text.as_bytes());
    assert_eq!(count(&safetensors, &block, rows * 24, Format::Safetensors), rows);

    let line = b"0.25,-1.5,9.75,3,4,0.5\n";
    let lines = (64 << 20) / line.len() as u64;
    assert_eq!(
        count(b"ax,ay,az,gx,gy,gz\n", &line.repeat(100), lines * line.len() as u64, Format::Csv),
        lines
    );
    let line = b"[0.25,-1.5,9.75,3,4,0.5]\n";
    let lines = (64 << 20) / line.len() as u64;
    assert_eq!(count(b"", &line.repeat(100), lines * line.len() as u64, Format::Jsonl), lines);

    match (before, peak()) {
        (Some(before), Some(after)) => {
            assert!(after - before < 8 << 20, "the peak grew from {before} to {after} bytes");
        }
        _ => println!("skipped: this system does not tell the peak memory of a process"),
    }
}

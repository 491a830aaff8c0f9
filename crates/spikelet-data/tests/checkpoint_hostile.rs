//! Damaged and hostile checkpoints: an error that says what is wrong, never a panic, and no more
//! memory than the file justifies.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use spikelet_data::checkpoint::{Checkpoint, CheckpointError};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    path::Path,
};

/// Counts what each thread allocates, so that a test can bound it.
struct Counting;

thread_local! {
    static IN_USE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system allocator unchanged; the counters do not affect it, and
// as constants without a destructor they need no allocation themselves.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = IN_USE.get() + layout.size() as isize;
        IN_USE.set(now);
        PEAK.set(PEAK.get().max(now));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.set(IN_USE.get() - layout.size() as isize);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `action` allocates at its worst, in bytes.
fn peak_of<T>(action: impl FnOnce() -> T) -> (T, usize) {
    let before = IN_USE.get();
    PEAK.set(before);
    let result = action();
    (result, (PEAK.get() - before) as usize)
}

/// Opens, reads every tensor and renders the metadata.
fn read_all(bytes: &[u8]) -> Result<(), CheckpointError> {
    let checkpoint = Checkpoint::from_bytes("hostile.pt", bytes.to_vec())?;
    checkpoint.value().to_json(10_000);
    let names: Vec<_> = checkpoint.names().map(str::to_owned).collect();
    names.iter().try_for_each(|name| checkpoint.tensor(name).map(|_| ()))
}

/// Fails, says so in words, and stays within `limit` bytes of memory.
#[track_caller]
fn refused(bytes: &[u8], limit: usize, message: &str) {
    let (result, peak) = peak_of(|| read_all(bytes));
    let error = result.expect_err("hostile input was accepted").to_string();
    assert!(error.contains(message), "{error:?} does not say {message:?}");
    assert!(error.starts_with("hostile.pt: "), "{error:?} does not name the file");
    assert!(peak <= limit, "took {peak} bytes for a file of {}", bytes.len());
}

fn fixtures() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending != "json"))
        .map(|path| {
            (path.file_name().unwrap().to_str().unwrap().into(), std::fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    assert!(files.len() > 20);
    files
}

const MIB: usize = 1 << 20;

#[test]
fn truncated_at_every_byte() {
    for (name, bytes) in fixtures() {
        for length in 0..bytes.len() {
            let (result, peak) = peak_of(|| read_all(&bytes[..length]));
            assert!(result.is_err(), "{name} cut to {length} bytes was accepted");
            assert!(peak < 4 * MIB, "{name} cut to {length} bytes took {peak} bytes");
        }
    }
}

#[test]
fn flipped_bytes_never_panic() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for (name, bytes) in fixtures() {
        for round in 0..400 {
            let mut damaged = bytes.clone();
            for _ in 0..=round % 4 {
                let at = rng.next_u64() as usize % damaged.len();
                damaged[at] = rng.next_u32() as u8;
            }
            let (_, peak) = peak_of(|| read_all(&damaged));
            // A flipped size may turn a step to 0, which repeats up to 4 million elements.
            assert!(peak < 160 * MIB, "{name}, round {round}: {peak} bytes");
        }
    }
}

#[test]
fn lengths_beyond_the_file_take_no_memory() {
    let huge = u64::MAX.to_le_bytes();
    for opcode in [0x8d, 0x8e, 0x96] {
        refused(&[&[0x80, 4, opcode], &huge[..]].concat(), MIB, "the file ends at byte");
    }
    for opcode in [b'X', b'T', b'B', 0x8b] {
        refused(&[&[0x80, 4, opcode], &[0xff; 4][..]].concat(), MIB, "the file ends at byte");
    }
}

#[test]
fn deep_nesting_is_followed_only_so_far() {
    // A million lists, each in the next: read, never followed by recursion.
    let depth = 1_000_000;
    let mut bytes = vec![0x80, 2];
    bytes.extend(std::iter::repeat_n(b']', depth));
    bytes.extend(std::iter::repeat_n(b'a', depth - 1));
    bytes.push(b'.');
    let (result, peak) = peak_of(|| read_all(&bytes));
    result.unwrap();
    assert!(peak < 150 * bytes.len(), "{peak}");
}

#[test]
fn doubled_lists_stay_small() {
    // Each list holds the one before twice: 2^1000 paths in 5 kB.
    let mut bytes = vec![0x80, 2, b']'];
    for _ in 0..1000 {
        bytes.extend([b'q', 0, b'(', b'h', 0, b'h', 0, b'l']);
        // Leaves the new list on top of the old one.
    }
    bytes.push(b'.');
    let (result, peak) = peak_of(|| read_all(&bytes));
    assert!(result.unwrap_err().to_string().contains("too many values in nested containers"));
    assert!(peak < MIB, "{peak}");
    // The same by DUP in tuples and dictionaries.
    for collect in [&[b'2', 0x86][..], &[b'2', b'2', b'2', b'(', b'K', 1, b'2', b'd'][..]] {
        let mut bytes = vec![0x80, 2, b'N'];
        (0..1000).for_each(|_| bytes.extend(collect));
        bytes.push(b'.');
        let (_, peak) = peak_of(|| read_all(&bytes));
        assert!(peak < MIB, "{peak}");
    }
}

#[test]
fn long_names_of_shared_containers_are_bounded() {
    // A dictionary that holds itself under a key of 100 kB.
    let key = vec![b'k'; 100_000];
    let mut bytes = vec![0x80, 2, b'}', b'q', 0, b'X'];
    bytes.extend(100_000u32.to_le_bytes());
    bytes.extend(&key);
    bytes.extend([b'h', 0, b's', b'.']);
    let (_, peak) = peak_of(|| read_all(&bytes));
    assert!(peak < 64 * MIB, "{peak}");
}

#[test]
fn malformed_programs() {
    for (program, message) in [
        (&b"\x80\x02."[..], "more objects than there are"),
        (b"\x80\x02t.", "more objects than there are"),
        (b"\x80\x02(R.", "more objects than there are"),
        (b"\x80\x02Nb.", "more objects than there are"),
        (b"\x80\x02NNb.", "a state for something that takes none"),
        (b"\x80\x02NNa.", "not a list"),
        (b"\x80\x02NNNs.", "not a dict"),
        (b"\x80\x02}(Nu.", "a key without a value"),
        (b"\x80\x02h\x05.", "memo entry 5 was never stored"),
        (b"\x80\x02\xff.", "0xff is not a pickle opcode"),
        (b"\x80\x02X\x02\x00\x00\x00\xff\xfe.", "not UTF-8"),
        (b"(I12x\n.", "not a number"),
        (b"(S'a\n.", "string literal is malformed"),
        (b"(V\\u12\n.", "escape in a string is malformed"),
        (b"(o.", "an instance without a class"),
        (b"\x80\x05\x97.", "buffers outside of the file"),
    ] {
        refused(program, MIB, message);
    }
}

/// A pickle of `{"w": tensor}` with these offset, shape and strides over storage "0".
fn tensor_pickle(numbers: &str) -> Vec<u8> {
    let [offset, shape, strides] = [0, 1, 2].map(|part| {
        let part = numbers.split(';').nth(part).unwrap();
        let items: Vec<_> = part.split(',').filter(|n| !n.is_empty()).collect();
        items.iter().map(|n| format!("I{n}\n")).collect::<String>()
    });
    format!(
        "(dS'w'\nctorch._utils\n_rebuild_tensor_v2\n((S'storage'\nctorch\nFloatStorage\nS'0'\n\
         S'cpu'\nI4\ntQ{offset}({shape}t({strides}tI00\nNtRs."
    )
    .into_bytes()
}

/// One stored (or, as stated, deflated) entry of an archive.
struct Part<'a> {
    name: &'a str,
    content: &'a [u8],
    method: u16,
    stated_size: u32,
    header_offset: Option<u32>,
}

fn part<'a>(name: &'a str, content: &'a [u8]) -> Part<'a> {
    Part { name, content, method: 0, stated_size: content.len() as u32, header_offset: None }
}

fn archive(parts: &[Part]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for part in parts {
        let offset = part.header_offset.unwrap_or(file.len() as u32);
        let mut common = vec![20, 0, 0, 0];
        common.extend(part.method.to_le_bytes());
        // Time and date, then a checksum of 0: not computed.
        common.extend([0; 8]);
        common.extend((part.content.len() as u32).to_le_bytes());
        common.extend(part.stated_size.to_le_bytes());
        common.extend((part.name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        file.extend(b"PK\x03\x04");
        file.extend(&common);
        file.extend(part.name.as_bytes());
        file.extend(part.content);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(offset.to_le_bytes());
        directory.extend(part.name.as_bytes());
    }
    let (offset, count) = (file.len() as u32, parts.len() as u16);
    let size = directory.len() as u32;
    file.extend(directory);
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
    file.extend([size.to_le_bytes(), offset.to_le_bytes()].concat());
    file.extend([0, 0]);
    file
}

#[test]
fn tensors_outside_of_their_storage() {
    let storage = [0u8; 16];
    let read = |numbers: &str| {
        let pickle = tensor_pickle(numbers);
        archive(&[part("a/data.pkl", &pickle), part("a/data/0", &storage)])
    };
    read_all(&read("0;2,2;2,1")).unwrap();
    read_all(&read("3;1,1;9223372036854775807,5")).unwrap();
    read_all(&read("0;0,9223372036854775807;1,1")).unwrap();
    for numbers in ["1;4;1", "4;1;1", "0;2,2;3,1", "9223372036854775807;2;9223372036854775807"] {
        refused(&read(numbers), MIB, "does not fit its storage of 16 bytes");
    }
    for numbers in ["0;-1;1", "0;2;-1", "-1;2;1"] {
        refused(&read(numbers), MIB, "negative or missing");
    }
    refused(&read("0;2,2;1"), MIB, "2 sizes but 1 strides");
    refused(&read("0;4294967296,4294967296,2;0,0,0"), MIB, "too many elements");
    refused(&read("0;100000000;0"), MIB, "far more elements than its storage");
    let pickle = tensor_pickle("0;4;1");
    refused(&archive(&[part("a/data.pkl", &pickle)]), MIB, "its storage 0 is not in the file");
}

#[test]
fn archives_that_lie() {
    let pickle = tensor_pickle("0;4;1");
    let storage = [0u8; 16];
    // Sizes that differ though nothing is packed.
    let lie = Part { stated_size: 1 << 30, ..part("a/data/0", &storage) };
    refused(&archive(&[part("a/data.pkl", &pickle), lie]), MIB, "packed and unpacked sizes differ");
    // Two entries over the same bytes.
    let twice = Part { header_offset: Some(0), ..part("a/data/0", &storage) };
    refused(&archive(&[part("a/data.pkl", &pickle), twice]), MIB, "overlap");
    // The same name twice.
    let same = [part("a/data.pkl", &pickle), part("a/data.pkl", &pickle)];
    refused(&archive(&same), MIB, "listed twice");
    // A header beyond the directory.
    let beyond = Part { header_offset: Some(1 << 30), ..part("a/data/0", &storage) };
    refused(&archive(&[part("a/data.pkl", &pickle), beyond]), MIB, "beyond the archive");
    let method = Part { method: 99, ..part("a/data.pkl", &pickle) };
    refused(&archive(&[method]), MIB, "compression method 99");
    refused(&archive(&[part("x.npy", &storage)]), MIB, "without data.pkl");
}

#[test]
fn zip_bombs() {
    let mut packer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut packer, &vec![b'N'; 90 * MIB]).unwrap();
    let bomb = packer.finish().unwrap();
    // 90 MiB out of 90 kB, stated honestly.
    let honest = Part { method: 8, stated_size: 90 << 20, ..part("a/data.pkl", &bomb) };
    refused(&archive(&[honest]), MIB, "claim to unpack to");
    // The same, stated as 1 kB.
    let lying = Part { method: 8, stated_size: 1024, ..part("a/data.pkl", &bomb) };
    refused(&archive(&[lying]), MIB, "unpacks to another size");
}

#[test]
fn safetensors_headers_that_lie() {
    let file = |header: &str, data: usize| {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.resize(file.len() + data, 0);
        file
    };
    let tensor = |shape: &str, start: u64, end: u64| {
        format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[{start},{end}]}}}}"#)
    };
    read_all(&file(&tensor("[2]", 0, 8), 8)).unwrap();
    refused(&file(&tensor("[3]", 0, 8), 8), MIB, "bytes 0..8 but shape [3]");
    refused(&file(&tensor("[2]", 8, 0), 8), MIB, "shape [2]");
    refused(&file(&tensor("[2]", 0, 8), 7), MIB, "the file holds 7");
    refused(&file(&tensor("[2]", 4, 12), 12), MIB, "does not follow");
    refused(&file(&tensor("[4611686018427387904,4]", 0, 0), 0), MIB, "shape");
    refused(&file("{\"a\":1}", 0), MIB, "the header is not valid");
    refused(&file(&format!("{{\"a\":{}", "[".repeat(10_000)), 0), MIB, "the header is not valid");
}

#[test]
fn other_files_are_named() {
    for (start, message) in [
        (&b""[..], "the file is empty"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"version https://git-lfs", "Git LFS pointer"),
        (b"<!doctype html>", "web page"),
    ] {
        refused(start, MIB, message);
    }
}

#[test]
fn a_file_that_shrinks_while_open() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shrinking.pt");
    let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/dtypes.pt");
    std::fs::copy(original, &path).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(100).unwrap();
    let error = checkpoint.tensor("f32").unwrap_err().to_string();
    assert!(error.contains("became shorter while it was read"), "{error}");
    assert!(Checkpoint::open(&folder.path().join("absent.pt")).is_err());
    assert!(Checkpoint::open(folder.path()).is_err());
}

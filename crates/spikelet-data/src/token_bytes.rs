//! The bytes that the names of tokens stand for, where tokenizers write bytes as characters.

use tokenizers::DecoderWrapper;

/// The bytes of a token, if its name says them: in byte-level tokenizers every character of the name is a byte, in others
/// `<0xE6>` may be one.
pub(crate) fn of(name: &str, decoder: &DecoderWrapper) -> Option<Vec<u8>> {
    match decoder {
        // A mark that is added to the vocabulary may have other characters, which stand for themselves.
        DecoderWrapper::ByteLevel(_) => {
            let bytes: Option<Vec<u8>> = name.chars().map(byte).collect();
            Some(bytes.unwrap_or_else(|| name.as_bytes().to_vec()))
        }
        DecoderWrapper::ByteFallback(_) => {
            let digits = name.strip_prefix("<0x")?.strip_suffix('>').filter(|d| d.len() == 2)?;
            Some(vec![u8::from_str_radix(digits, 16).ok()?])
        }
        DecoderWrapper::Sequence(all) => {
            all.get_decoders().iter().find_map(|decoder| of(name, decoder))
        }
        _ => None,
    }
}

/// The byte that a character stands for in GPT-2's table: printable ones stand for themselves, the other bytes are
/// numbered from U+0100 on.
fn byte(character: char) -> Option<u8> {
    let code = u32::from(character);
    let byte = match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => code,
        0x100..=0x120 => code - 0x100,
        0x121..=0x142 => code - 0x121 + 0x7f,
        0x143 => 0xad,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use tokenizers::decoders::byte_level::ByteLevel;

    #[test]
    fn every_byte_has_a_character() {
        let alphabet = ByteLevel::alphabet();
        let bytes: BTreeSet<u8> = alphabet.iter().filter_map(|c| byte(*c)).collect();
        assert_eq!((alphabet.len(), bytes.len()), (256, 256));
        let level = DecoderWrapper::ByteLevel(ByteLevel::default());
        assert_eq!(of("\u{120}\u{10a}a\u{e6}", &level).unwrap(), b" \na\xe6");
        assert_eq!(of("a b", &level).unwrap(), b"a b", "no name of bytes");
    }
}

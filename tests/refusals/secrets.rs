//! Keys that nobody made, by the contract's description of what a key looks like (section 5).

use std::cell::Cell;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

thread_local! {
    static MADE: Cell<u64> = const { Cell::new(0) };
}

/// A key of good form that no gateway has made: another one each time.
pub fn unknown() -> String {
    let number = MADE.replace(MADE.get() + 1);
    let text = format!("sk_live_Unknown{number:019}");
    // CRC-32 as in zlib, bit by bit.
    let crc = text.bytes().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    });
    let mut rest = !crc;
    let mut sum = [0; 6];
    for place in sum.iter_mut().rev() {
        *place = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    text + std::str::from_utf8(&sum).unwrap()
}

/// `secret` with one character mistyped.
pub fn mistyped(secret: &str) -> String {
    let last = if secret.ends_with('a') { 'b' } else { 'a' };
    format!("{}{last}", &secret[..secret.len() - 1])
}

#[test]
fn an_unknown_key_has_the_shape_of_a_made_one() {
    let key = unknown();
    assert_eq!(key.len(), "sk_live_".len() + 32);
    assert!(tollgate::domain::secret::is_well_formed(key.as_bytes()));
    assert!(!tollgate::domain::secret::is_well_formed(mistyped(&key).as_bytes()));
    assert_ne!(unknown(), key);
}

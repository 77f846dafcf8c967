//! Portraits: baseline JPEG (ITU-T T.81) of a mirrored mosaic, a function of the number. A pattern, no face.
//!
//! Every block of 8 × 8 pixels has one colour, so that only the constant coefficient of the cosine transform is there
//! and the encoder needs neither the transform nor a table for the others.

use super::{Number, draw};

/// The picture of this number, whoever has it.
pub fn jpeg(number: Number) -> Vec<u8> {
    let mut out = Vec::with_capacity(4096);
    out.extend_from_slice(START);
    out.extend_from_slice(QUANTISATION);
    out.extend_from_slice(&[STEP; 64]);
    out.extend_from_slice(&FRAME);
    out.extend_from_slice(CONSTANTS);
    out.extend_from_slice(&CODES_OF_LENGTH);
    out.extend(0..SIZES);
    out.extend_from_slice(END_OF_BLOCK);
    out.extend_from_slice(SCAN);

    let mut bits = Bits { out, held: 0, count: 0 };
    let mut last = [0; 3];
    for row in 0..ROWS {
        for column in 0..COLUMNS {
            for (colour, last) in colours(number, column, row).into_iter().zip(&mut last) {
                bits.constant(colour - *last);
                *last = colour;
                // End of block: a code of one bit.
                bits.push(0, 1);
            }
        }
    }
    bits.end()
}

/// Luma and the two chromas of a tile, less 128.
fn colours(number: Number, column: u64, row: u64) -> [i32; 3] {
    let (seed, mirrored) = (number.seed(), column.min(COLUMNS - 1 - column));
    let tile = draw(seed, 0x7000 + row / 2 * COLUMNS + mirrored / 2);
    let shade = (row as i32) * 2 - 30;
    let (blue, red) = (centred(draw(seed, 0x71), 70), centred(draw(seed, 0x72), 70));
    match tile % 5 {
        0 | 1 => [60 + shade, blue / 3, red / 3],
        2 | 3 => [centred(tile >> 8, 50) + shade, blue, red],
        _ => [-60 + shade, red, blue],
    }
}

fn centred(draw: u64, width: u64) -> i32 {
    (draw % (2 * width + 1)) as i32 - width as i32
}

/// Entropy-coded data, with a zero after each byte of ones (T.81, B.1.1.5).
struct Bits {
    out: Vec<u8>,
    held: u32,
    count: u32,
}

impl Bits {
    /// A difference of constants: its size by the table, then so many bits (T.81, F.1.2.1).
    fn constant(&mut self, difference: i32) {
        let size = 32 - difference.unsigned_abs().leading_zeros();
        let (code, length) = code(size);
        self.push(code, length);
        let bits = if difference < 0 { difference - 1 } else { difference };
        self.push(bits as u32 & ((1 << size) - 1), size);
    }

    fn push(&mut self, bits: u32, count: u32) {
        self.held = self.held << count | bits;
        self.count += count;
        while self.count >= 8 {
            self.count -= 8;
            let byte = (self.held >> self.count) as u8;
            self.out.push(byte);
            if byte == 0xff {
                self.out.push(0);
            }
        }
        self.held &= (1 << self.count) - 1;
    }

    fn end(mut self) -> Vec<u8> {
        self.push(0x7f, 7);
        self.out.extend_from_slice(&[0xff, 0xd9]);
        self.out
    }
}

/// The code of a size, by the table of the file: four codes of three bits, then of four bits.
const fn code(size: u32) -> (u32, u32) {
    if size < 4 { (size, 3) } else { (8 + size - 4, 4) }
}

/// In blocks of 8 pixels: 240 × 320.
const COLUMNS: u64 = 30;
const ROWS: u64 = 40;
/// Eight times the colour is the constant coefficient: a step of 8 keeps it whole.
const STEP: u8 = 8;
/// How many sizes of differences there are: colours differ by less than 512.
const SIZES: u8 = 10;

/// SOI and a JFIF header of version 1.1.
const START: &[u8] = &[0xff, 0xd8, 0xff, 0xe0, 0, 16, b'J', b'F', b'I', b'F', 0, 1, 1, 0, 0, 1, 0, 1, 0, 0];
/// DQT: table 0.
const QUANTISATION: &[u8] = &[0xff, 0xdb, 0, 67, 0];
/// SOF0: three components, not subsampled.
const FRAME: [u8; 19] = {
    let (height, width) = ((ROWS * 8) as u16, (COLUMNS * 8) as u16);
    let [h1, h0] = height.to_be_bytes();
    let [w1, w0] = width.to_be_bytes();
    [0xff, 0xc0, 0, 17, 8, h1, h0, w1, w0, 3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0]
};
/// DHT: constants, table 0.
const CONSTANTS: &[u8] = &[0xff, 0xc4, 0, 19 + SIZES, 0x00];
const CODES_OF_LENGTH: [u8; 16] = [0, 0, 4, SIZES - 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// DHT: the other coefficients, table 0, of one code.
const END_OF_BLOCK: &[u8] = &[0xff, 0xc4, 0, 20, 0x10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// SOS: all three components at once.
const SCAN: &[u8] = &[0xff, 0xda, 0, 12, 3, 1, 0, 2, 0, 3, 0, 0, 63, 0];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::register::demo;

    /// The colours of a picture of this encoder, by a decoder that knows no more than the tables say.
    fn decoded(jpeg: &[u8]) -> Vec<[i32; 3]> {
        let scan = jpeg.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap() + SCAN.len();
        let (data, end) = jpeg[scan..].split_at(jpeg.len() - scan - 2);
        assert_eq!(end, [0xff, 0xd9]);
        let mut bits = Vec::new();
        let mut stuffed = false;
        for byte in data {
            if std::mem::replace(&mut stuffed, *byte == 0xff) {
                assert_eq!(*byte, 0, "a marker in the data");
                continue;
            }
            bits.extend((0..8).rev().map(|bit| byte >> bit & 1));
        }
        let mut bits = bits.into_iter();
        let mut take = |count: u32| (0..count).fold(0_i32, |sum, _| sum << 1 | i32::from(bits.next().unwrap()));
        let mut last = [0; 3];
        let mut all = Vec::new();
        for _ in 0..ROWS * COLUMNS {
            for colour in &mut last {
                let code = take(3);
                let size = if code < 4 { code } else { (code << 1 | take(1)) - 4 } as u32;
                let value = take(size);
                *colour += if size > 0 && value < 1 << (size - 1) { value - (1 << size) + 1 } else { value };
                assert_eq!(take(1), 0, "end of block");
            }
            all.push(last);
        }
        all
    }

    #[test]
    fn a_picture_holds_the_colours_of_the_pattern() {
        for known in demo::ALL {
            let picture = jpeg(known.number);
            assert!((2_000..20_000).contains(&picture.len()), "{}", picture.len());
            let expected: Vec<[i32; 3]> =
                (0..ROWS).flat_map(|row| (0..COLUMNS).map(move |column| colours(known.number, column, row))).collect();
            assert!(expected.iter().flatten().all(|colour| (-128..128).contains(colour)));
            assert_eq!(decoded(&picture), expected);
        }
        assert_ne!(jpeg(demo::HOA.number), jpeg(demo::SON.number));
    }

    #[test]
    fn segments_have_the_lengths_that_they_say() {
        let picture = jpeg(demo::HOA.number);
        let (mut at, mut kinds) = (2, Vec::new());
        while picture[at + 1] != 0xda {
            assert_eq!(picture[at], 0xff);
            kinds.push(picture[at + 1]);
            at += 2 + usize::from(u16::from_be_bytes([picture[at + 2], picture[at + 3]]));
        }
        assert_eq!(kinds, [0xe0, 0xdb, 0xc0, 0xc4, 0xc4]);
    }
}

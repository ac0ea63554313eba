//! Protobuf's wire format: fields of a message, found and written again without knowing the rest.

use super::error::OnnxError;
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};

/// One field of a message.
pub struct Field<'a> {
    pub tag: u32,
    pub wire: WireType,
    /// The whole field, key included.
    pub raw: &'a [u8],
    /// The bytes of a length-delimited field; else empty.
    pub body: &'a [u8],
    /// The value of a varint field; else 0.
    pub varint: u64,
}

/// Walks the fields of one message; ends at the first that is malformed.
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, OnnxError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn read(&mut self) -> Result<Field<'a>, OnnxError> {
        let start = self.0;
        let buf = &mut self.0;
        let (tag, wire) = decode_key(buf).map_err(|_| OnnxError::Malformed("bad field key"))?;
        let (mut body, mut varint) = (&start[..0], 0);
        let mut take = |n: u64| {
            let n = usize::try_from(n)
                .ok()
                .filter(|n| *n <= buf.len())
                .ok_or(OnnxError::Malformed("field runs past the end"))?;
            let (head, tail) = buf.split_at(n);
            *buf = tail;
            Ok(head)
        };
        match wire {
            WireType::Varint => varint = decode_varint(buf).map_err(|_| OnnxError::Malformed("bad number"))?,
            WireType::LengthDelimited => {
                let mut rest = *buf;
                let before = rest.len();
                let len = decode_varint(&mut rest).map_err(|_| OnnxError::Malformed("bad length"))?;
                *buf = &buf[before - rest.len()..];
                let n = usize::try_from(len)
                    .ok()
                    .filter(|n| *n <= buf.len())
                    .ok_or(OnnxError::Malformed("field runs past the end"))?;
                (body, *buf) = buf.split_at(n);
            }
            WireType::SixtyFourBit => drop(take(8)?),
            WireType::ThirtyTwoBit => drop(take(4)?),
            WireType::StartGroup | WireType::EndGroup => return Err(OnnxError::Malformed("group field")),
        }
        let raw = &start[..start.len() - self.0.len()];
        Ok(Field { tag, wire, raw, body, varint })
    }
}

/// The whole numbers of a repeated field, packed or one by one.
pub fn numbers(field: &Field<'_>) -> Result<Vec<i64>, OnnxError> {
    if field.wire != WireType::LengthDelimited {
        return Ok(vec![field.varint as i64]);
    }
    let mut rest = field.body;
    let mut all = Vec::new();
    while !rest.is_empty() {
        all.push(decode_varint(&mut rest).map_err(|_| OnnxError::Malformed("bad number"))? as i64);
    }
    Ok(all)
}

/// Writes a message again: fields for which `edit` returns `false` are copied as they are.
pub fn rewrite(
    message: &[u8],
    out: &mut Vec<u8>,
    mut edit: impl FnMut(&Field<'_>, &mut Vec<u8>) -> Result<bool, OnnxError>,
) -> Result<(), OnnxError> {
    for field in Fields(message) {
        let field = field?;
        if !edit(&field, out)? {
            out.extend_from_slice(field.raw);
        }
    }
    Ok(())
}

pub fn put_message(out: &mut Vec<u8>, tag: u32, body: &[u8]) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(body.len() as u64, out);
    out.extend_from_slice(body);
}

/// The first length-delimited field `tag` of a message.
pub fn child(message: &[u8], tag: u32) -> Result<Option<&[u8]>, OnnxError> {
    for field in Fields(message) {
        let field = field?;
        if field.tag == tag && field.wire == WireType::LengthDelimited {
            return Ok(Some(field.body));
        }
    }
    Ok(None)
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

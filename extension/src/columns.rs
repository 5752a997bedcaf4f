//! Values of a row, made side by side in memory that is kept no longer than the row is being made: a palloc for each costs more
//! than to copy it.

use std::array;

use pgrx::pg_sys;

/// A value of a row.
#[derive(Clone, Copy)]
pub enum Column<'a> {
    Null,
    Boolean(bool),
    Text(&'a str),
    /// A text that need not be UTF-8.
    Bytes(&'a [u8]),
    /// Of type `text[]`.
    Texts(&'a [&'a str]),
    Uuid([u8; 16]),
    /// What lies behind the length of a jsonb.
    Jsonb(&'a [u8]),
    /// Made already.
    Datum(pg_sys::Datum),
}

impl<'a> Column<'a> {
    pub fn text(text: Option<&'a str>) -> Self {
        text.map_or(Column::Null, Column::Text)
    }

    pub fn uuid(uuid: Option<[u8; 16]>) -> Self {
        uuid.map_or(Column::Null, Column::Uuid)
    }

    /// Bytes of what is not in the datum itself.
    fn size(&self) -> usize {
        match self {
            Column::Null | Column::Boolean(_) | Column::Datum(_) => 0,
            Column::Text(text) => pg_sys::VARHDRSZ + text.len(),
            Column::Bytes(text) => pg_sys::VARHDRSZ + text.len(),
            Column::Texts([]) => size_of::<pg_sys::ArrayType>(),
            Column::Texts(texts) => {
                texts.iter().map(|text| element_size(text)).sum::<usize>() + ELEMENTS
            }
            Column::Uuid(uuid) => uuid.len(),
            Column::Jsonb(stored) => pg_sys::VARHDRSZ + stored.len(),
        }
    }
}

impl From<Option<pg_sys::Datum>> for Column<'_> {
    fn from(datum: Option<pg_sys::Datum>) -> Self {
        datum.map_or(Column::Null, Column::Datum)
    }
}

/// In an array of one dimension, what is before its elements: a length and a lower bound, in whole words.
pub const ELEMENTS: usize =
    (size_of::<pg_sys::ArrayType>() + 2 * size_of::<i32>()).next_multiple_of(WORD);

fn element_size(text: &str) -> usize {
    (pg_sys::VARHDRSZ + text.len()).next_multiple_of(align_of::<i32>())
}

/// Each value begins with one.
const WORD: usize = size_of::<u64>();

/// The values of a row of N columns.
pub struct Columns<const N: usize> {
    values: Vec<u64>,
    pub datums: [pg_sys::Datum; N],
    pub nulls: [bool; N],
}

impl<const N: usize> Columns<N> {
    pub fn new() -> Self {
        Self { values: Vec::new(), datums: [pg_sys::Datum::null(); N], nulls: [true; N] }
    }

    /// Puts these in the place of the values before, which were in memory that is used again.
    pub fn set(&mut self, columns: [Column; N]) {
        let words = |column: &Column| column.size().div_ceil(WORD);
        self.values.clear();
        self.values.resize(columns.iter().map(words).sum(), 0);
        let mut place = self.values.as_mut_ptr();
        for ((column, datum), is_null) in columns.iter().zip(&mut self.datums).zip(&mut self.nulls)
        {
            *is_null = matches!(column, Column::Null);
            *datum = match column {
                Column::Null => pg_sys::Datum::null(),
                Column::Boolean(boolean) => (*boolean).into(),
                Column::Datum(datum) => *datum,
                _ => place.into(),
            };
            // SAFETY: there are the words of all columns, and the column writes into its own.
            unsafe {
                write(column, place.cast());
                place = place.add(words(column));
            }
        }
    }

    /// Of which None is NULL. They last as long as what was set.
    pub fn values(&self) -> [Option<pg_sys::Datum>; N] {
        array::from_fn(|column| (!self.nulls[column]).then_some(self.datums[column]))
    }
}

/// SAFETY: at the place there are as many bytes as the column's size, and it is aligned to a word.
unsafe fn write(column: &Column, place: *mut u8) {
    unsafe {
        match column {
            Column::Null | Column::Boolean(_) | Column::Datum(_) => {}
            Column::Text(text) => write_with_length(text.as_bytes(), place),
            Column::Bytes(text) => write_with_length(text, place),
            Column::Jsonb(stored) => write_with_length(stored, place),
            Column::Uuid(uuid) => copy(uuid, place),
            Column::Texts(texts) => {
                let array: *mut pg_sys::ArrayType = place.cast();
                pgrx::set_varsize_4b(place.cast(), column.size() as i32);
                (*array).ndim = i32::from(!texts.is_empty());
                (*array).dataoffset = 0; // which says that no element is NULL
                (*array).elemtype = pg_sys::TEXTOID;
                if !texts.is_empty() {
                    let dimension = array.add(1).cast::<[i32; 2]>();
                    *dimension = [texts.len() as i32, 1];
                }
                let mut element = place.add(ELEMENTS);
                for text in *texts {
                    write_with_length(text.as_bytes(), element);
                    element = element.add(element_size(text));
                }
            }
        }
    }
}

/// SAFETY: at the place there are as many bytes as those and a length, and it is aligned to one.
unsafe fn write_with_length(bytes: &[u8], place: *mut u8) {
    unsafe {
        pgrx::set_varsize_4b(place.cast(), (pg_sys::VARHDRSZ + bytes.len()) as i32);
        copy(bytes, place.add(pg_sys::VARHDRSZ));
    }
}

/// SAFETY: at the place there are as many bytes.
unsafe fn copy(bytes: &[u8], place: *mut u8) {
    unsafe { place.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
}

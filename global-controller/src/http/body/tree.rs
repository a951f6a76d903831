//! JSON (RFC 8259) read into a tree, and a tree read into what a call asks for, with refusals in words of JSON.
//!
//! In: bytes of strangers, at most as many as a body may have. Out: a value, or a [`Problem`] that says where and what would be right, and
//! never names a type of this program. A name that stands twice in an object is refused: readers do not agree on which one counts.

use std::cell::RefCell;
use std::fmt;

use serde::de::value::StringDeserializer;
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Unexpected, Visitor};
use serde_json::{Map, Number, Value};

/// Of a field that is named in a refusal, characters: what a stranger sent is not sent back whole.
const FIELD_CHARS_MAX: usize = 256;

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Names and places from the outside in; empty: the whole body.
    path: Vec<String>,
    /// Reads on after the path.
    what: String,
}

impl Problem {
    fn new(what: impl Into<String>) -> Self {
        Self { path: Vec::new(), what: what.into() }
    }

    fn wrong(wanted: impl fmt::Display, found: &Value) -> Self {
        Self::new(format!("must be {wanted}, not {}", kind(found)))
    }

    fn inside(mut self, step: impl Into<String>) -> Self {
        self.path.insert(0, step.into());
        self
    }

    /// Where, as in `settings.require_auth` or `events.1`, cut off where it is no name of ours; `None`: the whole body.
    pub fn field(&self) -> Option<String> {
        (!self.path.is_empty()).then(|| self.path.join(".").chars().take(FIELD_CHARS_MAX).collect())
    }

    /// What is wrong, to be read after the field or "the body".
    pub fn what(&self) -> &str {
        &self.what
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field() {
            Some(field) => write!(f, "{field}: {}", self.what),
            None => write!(f, "the body {}", self.what),
        }
    }
}

impl std::error::Error for Problem {}

impl de::Error for Problem {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(_: Unexpected<'_>, wanted: &dyn de::Expected) -> Self {
        Self::new(format!("must be {wanted}"))
    }

    fn invalid_value(_: Unexpected<'_>, wanted: &dyn de::Expected) -> Self {
        Self::new(format!("must be {wanted}"))
    }

    fn unknown_variant(_: &str, known: &'static [&'static str]) -> Self {
        Self::new(format!("must be one of {}", known.join(", ")))
    }

    fn missing_field(name: &'static str) -> Self {
        Self::new("is required").inside(name)
    }

    fn duplicate_field(name: &'static str) -> Self {
        Self::new(TWICE).inside(name)
    }
}

const TWICE: &str = "stands twice";

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Reads the whole of `bytes` as one JSON value.
pub fn read(bytes: &[u8]) -> Result<Value, Problem> {
    if bytes.trim_ascii().is_empty() {
        return Err(Problem::new("is empty; it must be a JSON object"));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| Problem::new(format!("is not UTF-8 from byte {} on", error.valid_up_to())))?;
    let twice = RefCell::new(Vec::new());
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Node(&twice).deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    value.map_err(|error| {
        let path = twice.take();
        if !path.is_empty() {
            return Problem { path: path.into_iter().rev().collect(), what: TWICE.to_owned() };
        }
        let text = error.to_string();
        // The reader has no other mark of it.
        if text.starts_with("recursion limit exceeded") {
            return Problem::new("is nested deeper than 127 levels");
        }
        Problem::new(format!("is not JSON: {text}"))
    })
}

/// Reads a value; where a name stands twice, its path is left in the cell, from the inside out.
#[derive(Clone, Copy)]
struct Node<'a>(&'a RefCell<Vec<String>>);

impl Node<'_> {
    /// On the way out of where a name stands twice.
    fn leave(self, step: &str) {
        let mut twice = self.0.borrow_mut();
        if !twice.is_empty() {
            twice.push(step.to_owned());
        }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        loop {
            match items.next_element_seed(self).inspect_err(|_| self.leave(&array.len().to_string()))? {
                Some(item) => array.push(item),
                None => return Ok(Value::Array(array)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                self.0.borrow_mut().push(name);
                return Err(de::Error::custom(TWICE));
            }
            let value = members.next_value_seed(self).inspect_err(|_| self.leave(&name))?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

/// Reads `value` as what a call asks for.
pub fn take<'de, T: Deserialize<'de>>(value: Value) -> Result<T, Problem> {
    T::deserialize(Tree(value))
}

/// A value as a deserializer that knows what is asked for, and says so.
struct Tree(Value);

/// A whole number of `T`, also one that is written as `5.0` or `5e0` (JSON does not tell them apart).
fn whole<T: TryFrom<i128>>(value: &Value) -> Option<T> {
    let number = value.as_number()?;
    let whole = match (number.as_i64(), number.as_u64(), number.as_f64()) {
        (Some(number), _, _) => i128::from(number),
        (None, Some(number), _) => i128::from(number),
        // Beyond this a fraction cannot be told from a whole number.
        (None, None, Some(number)) if number.fract() == 0.0 && number.abs() < 9e15 => number as i128,
        _ => return None,
    };
    T::try_from(whole).ok()
}

macro_rules! whole_numbers {
    ($($method:ident $visit:ident $type:ty;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
            match whole::<$type>(&self.0) {
                Some(number) => visitor.$visit(number),
                None if self.0.is_number() => {
                    Err(Problem::new(format!("must be a whole number between {} and {}", <$type>::MIN, <$type>::MAX)))
                }
                None => Err(Problem::wrong("a whole number", &self.0)),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for Tree {
    type Error = Problem;

    whole_numbers! {
        deserialize_i8 visit_i8 i8;
        deserialize_i16 visit_i16 i16;
        deserialize_i32 visit_i32 i32;
        deserialize_i64 visit_i64 i64;
        deserialize_u8 visit_u8 u8;
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), _, _) => visitor.visit_u64(number),
                (None, Some(number), _) => visitor.visit_i64(number),
                (None, None, number) => visitor.visit_f64(number.unwrap_or_default()),
            },
            Value::String(text) => visitor.visit_string(text),
            Value::Array(items) => visitor.visit_seq(Items(items.into_iter().enumerate())),
            Value::Object(members) => visitor.visit_map(Members { rest: members.into_iter(), next: None }),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0 {
            Value::Bool(value) => visitor.visit_bool(value),
            other => Err(Problem::wrong("true or false", &other)),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0.as_f64() {
            Some(number) => visitor.visit_f64(number),
            None => Err(Problem::wrong("a number", &self.0)),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0 {
            Value::String(text) => visitor.visit_string(text),
            other => Err(Problem::wrong("a string", &other)),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_string(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        if self.0.is_array() { self.deserialize_any(visitor) } else { Err(Problem::wrong("an array", &self.0)) }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        if self.0.is_object() { self.deserialize_any(visitor) } else { Err(Problem::wrong("an object", &self.0)) }
    }

    fn deserialize_struct<V: Visitor<'de>>(self, _: &'static str, _: &'static [&'static str], visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_map(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(self, _: &'static str, _: &'static [&'static str], visitor: V) -> Result<V::Value, Problem> {
        match self.0 {
            Value::String(name) => visitor.visit_enum(StringDeserializer::new(name)),
            other => Err(Problem::wrong("a string", &other)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! { i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct identifier }
}

/// The members of an object; what is wrong in one is wrong under its name.
struct Members {
    rest: serde_json::map::IntoIter,
    next: Option<(String, Value)>,
}

impl<'de> MapAccess<'de> for Members {
    type Error = Problem;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Problem> {
        self.next = self.rest.next();
        let name = self.next.as_ref().map(|(name, _)| name.clone());
        name.map(|name| seed.deserialize(StringDeserializer::new(name))).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Problem> {
        let (name, value) = self.next.take().unwrap_or_default();
        seed.deserialize(Tree(value)).map_err(|problem| problem.inside(name))
    }
}

/// The items of an array; what is wrong in one is wrong at its place, counted from 0.
struct Items(std::iter::Enumerate<std::vec::IntoIter<Value>>);

impl<'de> SeqAccess<'de> for Items {
    type Error = Problem;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Problem> {
        let Some((index, item)) = self.0.next() else { return Ok(None) };
        seed.deserialize(Tree(item)).map(Some).map_err(|problem| problem.inside(index.to_string()))
    }
}

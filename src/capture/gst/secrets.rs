//! Secrets of pipelines that a user wrote.

use crate::capture::custom::CustomPipeline;
use crate::capture::source::CaptureError;
use crate::secret::percent_encoded;
use gstreamer as gst;
use gstreamer::glib::{ParamFlags, ParamSpec};
use gstreamer::prelude::*;

/// Puts secrets in the place of their words, in whatever property those stand. In an address they are encoded.
///
/// # Errors
/// A word stands elsewhere.
pub fn fill_in(gst_pipeline: &gst::Pipeline, own: &CustomPipeline) -> Result<(), CaptureError> {
    let mut is_missing = vec![true; own.secrets.len()];
    for element in gst_pipeline.iterate_recurse().into_iter().flatten() {
        for property in element.list_properties().iter().filter(|p| ParamSpec::value_type(p) == gst::glib::Type::STRING)
        {
            let flags = property.flags();
            if !flags.contains(ParamFlags::READWRITE) || flags.contains(ParamFlags::CONSTRUCT_ONLY) {
                continue;
            }
            let Some(written) = element.property::<Option<String>>(property.name()) else { continue };
            let is_address = written.contains("://");
            let mut text = written.clone();
            for ((word, secret), is_missing) in own.secrets.iter().zip(&mut is_missing) {
                if text.contains(word) {
                    text = text.replace(word, &if is_address { percent_encoded(&secret.0) } else { secret.0.clone() });
                    *is_missing = false;
                }
            }
            if text != written {
                element.set_property(property.name(), text);
            }
        }
    }
    if is_missing.contains(&true) {
        return Err(CaptureError::Setup(
            "a secret stands where none can be put in: ${NAME} may be in the text of an element's property, such as user-pw"
                .into(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secrets;

    #[test]
    fn secrets_become_properties_whatever_they_hold() {
        gst::init().unwrap();
        let lookup = |_: &str| Some("p\"@s ! fakesink #1/%2".to_owned());
        let fill = |written: &str| {
            let own = CustomPipeline::parse(written, &lookup, &mut Secrets::default()).unwrap();
            let gst_pipeline = gst::parse::launch(&own.text).unwrap().downcast::<gst::Pipeline>().unwrap();
            fill_in(&gst_pipeline, &own).map(|()| gst_pipeline)
        };
        let written = "rtspsrc name=a location=rtsp://u:${PW}@h/1 user-id=u user-pw=\"${PW}\" ! fakesink";
        let element = fill(written).unwrap().by_name("a").unwrap();
        assert_eq!(element.property::<String>("user-pw"), lookup("").unwrap());
        assert_eq!(element.property::<String>("location"), "rtsp://u:p%22%40s%20%21%20fakesink%20%231%2F%252@h/1");
        let error = fill("videotestsrc ! capsfilter caps=video/x-raw,name=(string)${PW} ! fakesink").unwrap_err();
        assert!(error.to_string().contains("property"), "{error}");
    }
}

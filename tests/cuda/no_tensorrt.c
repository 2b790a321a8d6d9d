/* What TensorRT's Python bindings look for in the native libraries when they are imported, and no more. */
#define ABSENT(NAME) \
  void *NAME(void) { return 0; }
ABSENT(createInferBuilder_INTERNAL)
ABSENT(createInferRefitter_INTERNAL)
ABSENT(createInferRuntime_INTERNAL)
ABSENT(createNvOnnxParserRefitter_INTERNAL)
ABSENT(createNvOnnxParser_INTERNAL)
ABSENT(getBuilderPluginRegistry)
ABSENT(getPluginRegistry)
int getNvOnnxParserVersion(void) { return 0; }
int initLibNvInferPlugins(void) { return 1; }

// Passes the boxes of an ssd-edge plan to DeepStream's nvinfer. They are final: duplicates are already suppressed.
//
//   g++ -std=c++17 -O2 -Wall -fPIC -shared -I/opt/nvidia/deepstream/deepstream/sources/includes
//       -I/usr/local/cuda/include nvdsinfer_ssd_edge.cpp -o libnvdsinfer_ssd_edge.so
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iostream>
#include <vector>

#include "nvdsinfer_custom_impl.h"

namespace {

const NvDsInferLayerInfo* find(const std::vector<NvDsInferLayerInfo>& layers, const char* name, NvDsInferDataType type) {
  for (const NvDsInferLayerInfo& layer : layers) {
    if (layer.layerName && std::strcmp(layer.layerName, name) == 0 && layer.dataType == type && layer.buffer) {
      return &layer;
    }
  }
  std::cerr << "ssd-edge: the engine has no output " << name << " of the expected type" << std::endl;
  return nullptr;
}

}  // namespace

extern "C" bool NvDsInferParseCustomSsdEdge(
    std::vector<NvDsInferLayerInfo> const& layers, NvDsInferNetworkInfo const& network,
    NvDsInferParseDetectionParams const& parameters, std::vector<NvDsInferObjectDetectionInfo>& objects) {
  const NvDsInferLayerInfo* boxes = find(layers, "boxes", FLOAT);
  const NvDsInferLayerInfo* scores = find(layers, "scores", FLOAT);
  const NvDsInferLayerInfo* classes = find(layers, "classes", INT32);
  if (!boxes || !scores || !classes) return false;
  const float* box = static_cast<const float*>(boxes->buffer);
  const float* score = static_cast<const float*>(scores->buffer);
  const int32_t* index = static_cast<const int32_t*>(classes->buffer);
  // The class is -1 after the last detection.
  for (unsigned k = 0; k < scores->inferDims.numElements && index[k] >= 0; ++k, box += 4) {
    const unsigned label = static_cast<unsigned>(index[k]);
    if (label >= parameters.numClassesConfigured || score[k] < parameters.perClassPreclusterThreshold[label]) continue;
    const float left = std::clamp(box[0], 0.0f, 1.0f), right = std::clamp(box[2], 0.0f, 1.0f);
    const float top = std::clamp(box[1], 0.0f, 1.0f), bottom = std::clamp(box[3], 0.0f, 1.0f);
    NvDsInferObjectDetectionInfo object{};
    object.classId = label;
    object.left = left * network.width;  // nvinfer scales from the network's input to the frame
    object.top = top * network.height;
    object.width = (right - left) * network.width;
    object.height = (bottom - top) * network.height;
    object.detectionConfidence = score[k];
    if (object.width > 0 && object.height > 0) objects.push_back(object);
  }
  return true;
}

CHECK_CUSTOM_PARSE_FUNC_PROTOTYPE(NvDsInferParseCustomSsdEdge);

# The ONNX message classes, generated into the build tree from the package's own onnx.proto. The protobuf package is renamed to
# splitcnn_onnx, which does not change the wire format: an application that links its own copy of ONNX never meets ours.
find_file(SPLITCNN_ONNX_PROTO NAMES onnx/onnx.proto onnx/onnx-ml.proto onnx/onnx.proto3 onnx/onnx-ml.proto3
  DOC "onnx.proto of the ONNX package (Debian and Ubuntu: libonnx-dev)")
mark_as_advanced(SPLITCNN_ONNX_PROTO)
if(NOT SPLITCNN_ONNX_PROTO)
  message(FATAL_ERROR "onnx/onnx.proto was not found; install libonnx-dev or set SPLITCNN_ONNX_PROTO to the file")
endif()

# splitcnn_onnx_proto(target): adds the generated classes to the target; its sources include "splitcnn_onnx.pb.h".
function(splitcnn_onnx_proto target)
  set(folder "${CMAKE_CURRENT_BINARY_DIR}/onnx_proto")
  file(READ "${SPLITCNN_ONNX_PROTO}" text)
  string(REGEX REPLACE "package[ \t]+[A-Za-z0-9_.]+;" "package splitcnn_onnx;" text "${text}")
  string(REGEX REPLACE "option[ \t]+optimize_for[^;]*;" "" text "${text}")
  string(APPEND text "\noption optimize_for = LITE_RUNTIME;\n")
  set(previous "")
  if(EXISTS "${folder}/splitcnn_onnx.proto")
    file(READ "${folder}/splitcnn_onnx.proto" previous)
  endif()
  if(NOT text STREQUAL previous)  # an untouched file keeps its time, so nothing is generated again
    file(WRITE "${folder}/splitcnn_onnx.proto" "${text}")
  endif()
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${SPLITCNN_ONNX_PROTO}")

  set(generated "${folder}/splitcnn_onnx.pb.cc")
  add_custom_command(
    OUTPUT "${generated}" "${folder}/splitcnn_onnx.pb.h"
    COMMAND protobuf::protoc "--cpp_out=${folder}" "--proto_path=${folder}" splitcnn_onnx.proto
    DEPENDS "${folder}/splitcnn_onnx.proto" protobuf::protoc
    COMMENT "Generating the ONNX message classes" VERBATIM)
  set_source_files_properties("${generated}" PROPERTIES COMPILE_OPTIONS "-w" SKIP_LINTING ON)
  target_sources(${target} PRIVATE "${generated}")
  target_include_directories(${target} SYSTEM PRIVATE "${folder}")
endfunction()

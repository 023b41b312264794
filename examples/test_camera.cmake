# Feeds raw frames to 20_camera on stdin, as ffmpeg would, and expects one line per frame.
cmake_minimum_required(VERSION 3.25)
get_filename_component(data "${FRAMES}" DIRECTORY)
execute_process(COMMAND "${PROGRAM}" "${data}/digits.onnx" --calibration "${data}/digits_calibration.f32" --size 8x8 --format gray
  INPUT_FILE "${FRAMES}" OUTPUT_VARIABLE out ERROR_VARIABLE err RESULT_VARIABLE result)
string(REGEX MATCHALL "[^\n]+ ms" lines "${out}")
list(LENGTH lines count)
if(NOT result EQUAL 0 OR NOT count EQUAL 360 OR NOT err MATCHES "360 frames, 0 dropped")
  message(FATAL_ERROR "exit ${result}, ${count} results\n${err}")
endif()
execute_process(COMMAND "${PROGRAM}" "${data}/digits.onnx" --calibration "${data}/digits_calibration.f32"
  --device /dev/no-such-camera ERROR_VARIABLE err RESULT_VARIABLE result)
if(result EQUAL 0 OR NOT err MATCHES "20_camera: /dev/no-such-camera: cannot open")
  message(FATAL_ERROR "a camera that is not there: exit ${result}\n${err}")
endif()

# Every header of include/splitcnn must be in SPLITCNN_HEADERS of lib/CMakeLists.txt: only those are installed.
cmake_minimum_required(VERSION 3.25)
string(REPLACE "," ";" LISTED "${LISTED}")
file(GLOB found "${ROOT}/include/splitcnn/*.hpp")
list(REMOVE_ITEM found ${LISTED})
if(found)
  message(FATAL_ERROR "not in SPLITCNN_HEADERS of lib/CMakeLists.txt: ${found}")
endif()

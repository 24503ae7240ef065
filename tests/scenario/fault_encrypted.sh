#!/bin/sh
# Steps of a download into an encrypted repository fail, also of one that goes
# on after a crash: as in fault_steps.
ENCRYPT=yes ACTS=${ACTS:-download resume} FAULTS=${FAULTS:-10}
export ENCRYPT ACTS FAULTS
exec sh "$(dirname "$0")/fault_steps.sh"

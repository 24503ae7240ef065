#compdef fleetbak
local -a candidates
candidates=("${(@f)$(fleetbak __complete zsh -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
[[ $candidates[1] == :files ]] && { _files; return }
_describe 'fleetbak' candidates

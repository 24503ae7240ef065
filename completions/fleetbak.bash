# bash completion for fleetbak: asks the program, so it is never out of date.
# The program gets the raw line: bash itself would split MACHINE@RUN and
# KEY=VALUE at '@' and '='.
_fleetbak()
{
	local line
	COMPREPLY=()
	while IFS= read -r line; do
		case $line in
		:files) compopt -o default ;;
		*) COMPREPLY+=("$line") ;;
		esac
	done < <("${COMP_WORDS[0]}" __complete bash "$COMP_POINT" "$COMP_LINE" \
		2>/dev/null)
} && complete -F _fleetbak fleetbak

# bash completion for rtrace (bash 4.4 or newer). rtrace itself says what fits; see
# tracer/cli/completing.py for the lines that it answers with.

_rtrace() {
	local cur=${COMP_WORDS[COMP_CWORD]} words type value index
	COMPREPLY=()
	for ((index = 1; index < COMP_CWORD; index++)); do
		if [[ ${COMP_WORDS[index]} == -- ]]; then # a command to record
			if declare -F _command_offset >/dev/null; then
				_command_offset $((index + 1))
			elif ((index + 1 == COMP_CWORD)); then
				mapfile -t COMPREPLY < <(compgen -c -- "$cur")
			else
				compopt -o default
			fi
			return
		fi
	done
	[[ $cur != = ]] || cur=
	printf -v words '%s\n' "${COMP_WORDS[@]}"
	while IFS=, read -r type value; do
		case $type in
		plain) COMPREPLY+=("$value") ;;
		begin)
			compopt -o nospace
			COMPREPLY+=("$value")
			;;
		capture)
			compopt -o filenames
			mapfile -t COMPREPLY < <(
				compgen -f -X '!*.rtrace' -- "$cur"
				compgen -f -X '!*.zip' -- "$cur"
				compgen -d -- "$cur"
			)
			;;
		dir) compopt -o dirnames ;;
		file) compopt -o default ;;
		esac
	done < <(COMP_WORDS=$words COMP_CWORD=$COMP_CWORD _RTRACE_COMPLETE=bash_complete \
		"${1/#\~/$HOME}" 2>/dev/null)
}

complete -o nosort -F _rtrace rtrace

require "date"

# What a line with a brace is: a JSON object (also behind the prefix of a host, and up to three deep), or ordinary text.
# Strict RFC 8259, since a lenient reader would take a cut-off or doubled line for a score.
# Methods, not lambdas: workers run this at once, and JRuby keeps the last match of a pattern in the frame, which
# all calls of a lambda share.
@elkkit_prefix = Regexp.new({{ prefix | ruby_string }})
@elkkit_colour = Regexp.new({{ contract.colour | ruby_string }})
@elkkit_types = {
{% for field in fields %}
  {{ field.name | tojson }} => {{ field.type | tojson }},
{% endfor %}
}
@elkkit_many = [{{ many | map("tojson") | join(", ") }}]
@elkkit_shippers = [{{ shippers | map("tojson") | join(", ") }}]
@elkkit_content_end = /[^ \t\r\uFEFF]/
token = /[\[\]{}:, \t\r\n]++|"(?:[^"\\\x00-\x1f]++|\\(?:["\\\/bfnrt]|u\h\h\h\h))*+"|-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?+[0-9]++)?+(?![0-9.eE+-])|true|false|null/
@elkkit_tokens = /\A(?:#{token})*+\z/
@elkkit_escape = /\\(?:u[dD][89abAB]\h\h\\u[dD][c-fC-F]\h\h|[^u])/
@elkkit_lone = /\\u[dD][89a-fA-F]/
@elkkit_long = /"(?:[^"\\]|\\.)*+"|-?[0-9]{309,}/ # an integer that would only cost time: it is infinite as a number
@elkkit_moment = /\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)\z/

def elkkit_parse(text)
  return nil unless text.valid_encoding? && text.match?(@elkkit_tokens) && !text.gsub(@elkkit_escape, "").match?(@elkkit_lone)
  begin
    text = text.gsub(@elkkit_long) { |t| t.start_with?("\"") ? t : t[/\A-?/] + "1e999" } if text.match?(/[0-9]{309}/)
    JSON.parse(text, max_nesting: 1000)
  rescue JSON::ParserError
    nil
  end
end

def elkkit_flat(value, above, depth, found)
  value.each do |key, item|
    if item.is_a?(Hash) && depth < 8
      elkkit_flat(item, above + key + ".", depth + 1, found)
    else
      found << [above + key, item]
    end
  end
  found
end

# a decimal number as Python writes it
def elkkit_shown(value)
  sign = value.to_s.start_with?("-") ? "-" : ""
  return sign + "inf" if value.infinite?
  return sign + "0.0" if value.zero?
  mantissa, power = value.abs.to_s.split("e")
  whole, part = mantissa.split(".")
  digits = (whole + part).sub(/\A0+/, "")
  exponent = power.to_i + (whole == "0" ? digits.length - part.length : whole.length) - 1
  digits = digits.sub(/0+\z/, "")
  if exponent < -4 || exponent >= 16
    fraction = digits.length > 1 ? "." + digits[1..-1] : ""
    return sign + digits[0] + fraction + (exponent < 0 ? "e-" : "e+") + exponent.abs.to_s.rjust(2, "0")
  end
  return sign + "0." + "0" * (-exponent - 1) + digits if exponent < 0
  digits = digits.ljust(exponent + 1, "0")
  sign + digits[0..exponent] + "." + (digits[exponent + 1..-1].empty? ? "0" : digits[exponent + 1..-1])
end

def elkkit_fit_one(kind, value)
  case kind
  when "boolean"
    return value if value == true || value == false
    return({ "true" => true, "false" => false }[value])
  when "long"
    return (value.is_a?(Integer) && value >= -2**63 && value < 2**63 ? value : nil)
  when "double"
    return (value.is_a?(Numeric) && value.to_f.finite? ? value.to_f : nil)
  when "date"
    return nil unless value.is_a?(String) && value.match?(@elkkit_moment)
    return (Date.valid_date?(value[0, 4].to_i, value[5, 2].to_i, value[8, 2].to_i) ? value : nil)
  end
  case value
  when true, false then value.to_s
  when Float then elkkit_shown(value)
  when Integer then value < -2**63 || value >= 2**64 ? elkkit_fit_one(kind, value.to_f) : value.to_s
  when String then value
  end
end

def elkkit_fit(name, value)
  if value.is_a?(Array)
    items = value.map { |item| elkkit_fit_one(@elkkit_types[name], item) }
    return (@elkkit_many.include?(name) && !items.include?(nil) ? items : nil)
  end
  one = elkkit_fit_one(@elkkit_types[name], value)
  name == "tags" && !one.nil? ? [one] : one
end

def elkkit_read_fields(value)
  found = {}
  wrong = []
  elkkit_flat(value, "", 0, []).each do |name, item|
    next unless @elkkit_types.key?(name) && !item.nil?
    if name == "event.id" && !(item.is_a?(String) && item.match?(/\A[0-9a-f]{32}\z/))
      wrong << {{ contract.invalid_id_tag | tojson }}
      next
    end
    fitted = elkkit_fit(name, item)
    fitted.nil? ? wrong << {{ contract.invalid_field_tag | tojson }} : found[name] = fitted
  end
  found["tags"] = (found["tags"] || []) + wrong.uniq.sort unless wrong.empty?
  found
end

# the text to judge, without colour codes too, the fields around it, and the outcome where that is decided already
def elkkit_judge(text)
  fields = {}
  depth = 0
  # what the input made of a line that is not UTF-8
  return [text, text, fields, "malformed"] if text.start_with?("{\\\"") && text.include?("\\x")
  loop do
    content = text.gsub(@elkkit_colour, "")
    rest = @elkkit_prefix.match(content).post_match
    break [text, content, fields, nil] unless depth < {{ max_nesting }} && rest.start_with?("{")
    value = elkkit_parse(rest[0..rest.rindex(@elkkit_content_end)])
    break [text, content, fields, rest.match?(/\A\{[ \t]*"/) ? "malformed" : "not_a_score"] if value.nil?
    fields = fields.merge(elkkit_read_fields(value))
    message = value["message"]
    break [text, content, fields, "not_a_score"] unless message.is_a?(String)
    text = message
    depth += 1
  end
end

def elkkit_read(event)
  text, content, fields, outcome = elkkit_judge(event.get("message"))
  event.set("message", text)
  event.set("{{ work }}[text]", content)
  event.set("{{ work }}[outcome]", outcome) unless outcome.nil?
  fields.each do |name, value|
    if name == "@timestamp"
      event.set("{{ work }}[time]", value)
    elsif name == "tags"
      event.set("tags", Array(event.get("tags")) + value)
    else
      reference = "[" + name.split(".").join("][") + "]"
      event.set(reference, value) unless @elkkit_shippers.include?(name) && !event.get(reference).nil?
    end
  end
end

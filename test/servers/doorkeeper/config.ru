# Doorkeeper on Rails, set up as the documentation's recipe has it. SITE is where it may write;
# DATABASE_URL names the database, which is there from the second start on.

require 'logger'
require 'rails'
require 'active_record/railtie'
require 'action_controller/railtie'
require 'doorkeeper'

class App < Rails::Application
  config.root = ENV.fetch('SITE')
  config.eager_load = true
  config.logger = Logger.new($stdout)
  config.log_level = :warn
  config.secret_key_base = 'of a test'
  config.hosts.clear
end

Doorkeeper.configure do
  orm :active_record
  base_controller 'ActionController::Base'
  grant_flows %w[client_credentials password]
  resource_owner_from_credentials { 7 if params[:password] == 'wonderland' }
  default_scopes :read
  optional_scopes :write, :introspection
  use_refresh_token { |context| context.grant_type == 'password' }
  access_token_expires_in 7200
  custom_access_token_expires_in do |context|
    { 'short' => 3, 'endless' => Float::INFINITY }[context.client.uid]
  end

  # As it comes, a client may ask about its own tokens alone.
  allow_token_introspection do |token, client, own|
    client ? %w[api-gateway special].include?(client.uid) : own&.includes_scope?(:introspection)
  end
  # Neither does it tell refresh tokens from access tokens, nor who a token is of.
  custom_introspection_response do |token, context|
    if context.request.params[:token] == token.token
      { sub: (token.resource_owner_id || token.application.uid).to_s }
    else
      { active: false }
    end
  end
end

App.initialize!
App.routes.draw { use_doorkeeper { skip_controllers :applications, :authorized_applications } }

unless ActiveRecord::Base.connection.table_exists?(:oauth_applications)
  ActiveRecord::Schema.define do
    create_table :oauth_applications do |t|
      t.string :name, :uid, :secret, null: false
      t.text :redirect_uri, null: false
      t.string :scopes, null: false, default: ''
      t.boolean :confidential, null: false, default: true
      t.timestamps null: false
    end
    create_table :oauth_access_grants do |t|
      t.references :resource_owner, :application, null: false
      t.string :token, null: false
      t.integer :expires_in, null: false
      t.text :redirect_uri, null: false
      t.datetime :created_at, null: false
      t.datetime :revoked_at
      t.string :scopes, null: false, default: ''
    end
    create_table :oauth_access_tokens do |t|
      t.references :resource_owner
      t.references :application, null: false
      t.string :token, null: false
      t.string :refresh_token, :scopes
      t.integer :expires_in
      t.datetime :revoked_at
      t.datetime :created_at, null: false
      t.string :previous_refresh_token, null: false, default: ''
    end
    add_index :oauth_access_tokens, :token, unique: true
  end
  secrets = Hash.new('Password1').merge('special' => 'p+ss w%rd/&=ü')
  %w[app other-app short endless api-gateway special].each do |uid|
    Doorkeeper::Application.create!(name: uid, uid: uid, secret: secrets[uid], redirect_uri: 'https://127.0.0.1/callback')
  end
end

run App
